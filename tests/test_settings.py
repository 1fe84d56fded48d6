"""Where settings come from, which of them wins, and what is said about a bad one."""

from pathlib import Path

import msgspec
import pytest

from recstream.core.events import EventWeights
from recstream.errors import InvalidSetting
from recstream.settings import Settings, has_desktop, load, unknown_variables


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recstream.toml"
    path.write_text('port = 1\nhost = "::1"\nn_factors = 16\n[weights]\nview = 2.0\n')
    return path


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    environ = {"RECSTREAM_PORT": "2", "RECSTREAM_N_FACTORS": "32"}

    settings = load({"port": 3}, environ=environ, file=file)

    assert (settings.port, settings.n_factors, settings.host) == (3, 32, "::1")
    assert settings.list_size == Settings().list_size


def test_a_flag_that_was_not_given_hides_nothing(file: Path) -> None:
    assert load({"port": None}, environ={}, file=file).port == 1


def test_structured_settings_come_as_tables_or_json(file: Path) -> None:
    environ = {
        "RECSTREAM_HYPERPARAMETERS": '{"alpha": 2.0}',
        "RECSTREAM_ALLOWED_ORIGINS": '["https://shop.example"]',
    }

    settings = load(environ=environ, file=file)

    assert settings.weights == EventWeights(view=2.0)
    assert settings.hyperparameters == {"alpha": 2.0}
    assert settings.allowed_origins == ("https://shop.example",)


def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hush-hush\n")

    settings = load(environ={"RECSTREAM_SECRET_FILE": str(path)})

    shown = settings.shown()
    assert settings.secret == path.read_text().strip()
    assert set(shown["secret"]) == {"*"}
    assert settings.secret not in str(shown)


def test_the_config_variable_names_the_file(file: Path) -> None:
    assert load(environ={"RECSTREAM_CONFIG": str(file)}).port == 1


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"RECSTREAM_PORT": "many"}, "port"),
        ({"RECSTREAM_PORT": "70000"}, "port must be 0"),
        ({"RECSTREAM_PARTITIONS": "0"}, "partitions must be 1 to 256, got 0"),
        ({"RECSTREAM_HALF_LIFE_DAYS": "0"}, "half_life_days must be 1e-06 to 100,000"),
        ({"RECSTREAM_HALF_LIFE_DAYS": "nan"}, "half_life_days"),
        ({"RECSTREAM_POPULARITY_WEIGHT": "inf"}, "popularity_weight must be 0 to 1,000"),
        ({"RECSTREAM_HYPERPARAMETERS": '{"n_factors": 1000000}'}, "n_factors must be 1 to 1,024"),
        ({"RECSTREAM_LOG_LEVEL": "LOUD"}, "log_level"),
        ({"RECSTREAM_HYPERPARAMETERS": "alpha=2"}, "RECSTREAM_HYPERPARAMETERS must be JSON"),
        ({"RECSTREAM_WEIGHTS": '{"view": -1}'}, "view"),
        ({"RECSTREAM_WEIGHTS": '{"glance": 1}'}, "glance"),
        ({"RECSTREAM_WEIGHTS": "[" * 5_000}, "RECSTREAM_WEIGHTS must be JSON"),
        ({"RECSTREAM_WEIGHTS": "\udcff"}, "RECSTREAM_WEIGHTS must be JSON"),
        ({"RECSTREAM_PORT": "\udcff"}, "port must be text in UTF-8.*from RECSTREAM_PORT"),
        ({"RECSTREAM_CONFIG": "/nowhere/recstream.toml"}, "does not exist"),
        ({"RECSTREAM_SECRET_FILE": "/nowhere/secret"}, "RECSTREAM_SECRET_FILE"),
    ],
)
def test_a_bad_setting_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        load(environ=environ)


def test_a_file_that_nests_too_deep_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text(f"port = {'[' * 5_000}{']' * 5_000}")

    with pytest.raises(InvalidSetting, match=r"recstream.toml can't be read"):
        load(environ={}, file=path)


def test_every_number_has_limits() -> None:
    for field in msgspec.structs.fields(Settings):
        if field.type in {int, float, float | None}:
            for value in ("1000000000000000000000", "-1"):
                with pytest.raises(InvalidSetting, match=f"{field.name} must be .* to .*, got"):
                    load(environ={f"RECSTREAM_{field.name.upper()}": value})


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one() -> None:
    environ = {
        "RECSTREAM_DATA": "folder of the public data sets",
        "RECSTREAM_PARTITION": "8",
        "RECSTREAM_WHATEVER_THIS_IS": "",
        "RECSTREAM_SECRET_FILE": "/run/secret",
        "RECSTREAM_BRIDGE_SERVICE_HOST": "10.0.0.1",
        "RECSTREAM_BRIDGE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PATH": "",
    }

    assert unknown_variables(environ) == [
        "RECSTREAM_PARTITION is no setting; did you mean RECSTREAM_PARTITIONS?",
        "RECSTREAM_WHATEVER_THIS_IS is no setting; `recstream doctor --settings` lists all",
    ]


@pytest.mark.parametrize("value", ["many", "", "1.5", "0x10"])
def test_a_bad_setting_names_what_came_and_where_it_was_given(value: str, tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text(f'port = "{value}"')

    with pytest.raises(InvalidSetting, match=rf"port can't be '{value}' \(from {path}\)"):
        load(environ={}, file=path)
    with pytest.raises(InvalidSetting, match=rf"port can't be '{value}' \(from RECSTREAM_PORT\)"):
        load(environ={"RECSTREAM_PORT": value})
    with pytest.raises(InvalidSetting, match=rf"port can't be '{value}' \(from the command line\)"):
        load({"port": value}, environ={"RECSTREAM_PORT": "1"})


def test_a_secret_that_is_none_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text("secret = 12345")

    with pytest.raises(InvalidSetting, match=r"secret can't be \*\*\*") as caught:
        load(environ={}, file=path)
    assert "12345" not in str(caught.value)


def test_a_file_of_a_secret_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidSetting, match=r"RECSTREAM_SECRET_FILE names .*secret, which can't"):
        load(environ={"RECSTREAM_SECRET_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("variable", ["RECSTREAM_SECRET_FILE", "RECSTREAM_CONFIG"])
def test_a_file_that_never_ends_is_refused_by_name(variable: str) -> None:
    with pytest.raises(InvalidSetting, match=r"/dev/zero.* may have at most"):
        load(environ={variable: "/dev/zero"})


def test_an_unknown_entry_of_the_file_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text("prot = 1\n")

    with pytest.raises(InvalidSetting, match=r"prot.*known settings: .*port"):
        load(environ={}, file=path)


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text("port = = 1")

    with pytest.raises(InvalidSetting, match=r"recstream\.toml can't be read"):
        load(environ={}, file=path)


def test_everything_is_kept_under_the_data_directory_unless_told_otherwise(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))

    assert settings.broker_url == f"embedded://{tmp_path}/log.db"
    assert settings.catalogue_url == f"embedded://{tmp_path}/catalogue"
    assert settings.models_url == f"file://{tmp_path}/models"
    assert Settings(broker="kafka://k:9092").broker_url == "kafka://k:9092"


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("127.example.com", False),
    ],
)
def test_only_loopback_addresses_count_as_loopback(host: str, is_loopback: bool) -> None:
    assert Settings(host=host).is_loopback == is_loopback


def test_a_half_life_is_a_length_of_time() -> None:
    assert Settings(half_life_days=2.0).half_life_ms == 2 * 24 * 3600 * 1000


def test_a_desktop_is_where_a_window_can_open() -> None:
    assert has_desktop({"DISPLAY": ":0"})
    assert has_desktop({"WAYLAND_DISPLAY": "wayland-0"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_dir", ""),
        ("data_dir", "what?"),
        ("data_dir", "a\0b"),
        ("data_dir", "~nobody-of-this-name/x"),
        ("secret", "\udcff"),
        ("app_id", ""),
        ("app_id", "../../x"),
        ("app_id", "a\nb"),
        ("kafka_ssl_cafile", "\0"),
    ],
)
def test_a_text_that_no_path_or_name_can_hold_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"setting {name} "):
        load({name: value}, environ={})


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recstream.toml"
    path.write_text("\ufeffport = 81\n", encoding="utf-8")

    assert load(environ={}, file=path).port == 81


def test_a_secret_of_a_file_has_no_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\ufeffhush-hush\n", encoding="utf-8")

    assert load(environ={"RECSTREAM_SECRET_FILE": str(path)}).secret == "hush-hush"  # noqa: S105
