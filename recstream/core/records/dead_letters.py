"""Records of `recstream.dead-letters`: what could not be read."""

import msgspec


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """(A part of) a record that could not be read: the reason, its origin, and its value to send again."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    pointer: str = ""
    value: str = ""
    truncated: bool = False


decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
