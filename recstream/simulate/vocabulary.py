"""Vocabulary of the synthetic shop: invented brands, adjectives, nouns and prices."""

from __future__ import annotations

from typing import NamedTuple


class Aisle(NamedTuple):
    """A category of the shop: the words and prices of its products."""

    category: str
    brands: tuple[str, ...]
    adjectives: tuple[str, ...]
    nouns: tuple[tuple[str, float], ...]
    """Each with its usual price."""
    use: str
    """The end of its descriptions."""


AISLES: tuple[Aisle, ...] = (
    Aisle(
        "Kitchen",
        ("Halvor", "Brasero", "Pimenta", "Oak & Ember"),
        ("Cast-Iron", "Enamelled", "Copper-Base", "Hand-Forged", "Stoneware", "Olive-Wood"),
        (
            ("Skillet 26 cm", 49),
            ("Dutch Oven 5 l", 119),
            ("Saucepan 1.8 l", 64),
            ("Chef's Knife 20 cm", 89),
            ("Pepper Mill", 34),
            ("Mixing Bowl Set", 42),
            ("Salad Servers", 19),
            ("Cutting Board", 38),
            ("Gratin Dish", 31),
        ),
        "for cooks who like to take their time",
    ),
    Aisle(
        "Coffee & Tea",
        ("Morgenrot", "Third Pour", "Kestrel", "Chawan"),
        ("Ceramic", "Gooseneck", "Double-Wall", "Precision", "Travel", "Slow-Drip"),
        (
            ("Pour-Over Dripper", 27),
            ("Kettle 1 l", 74),
            ("Hand Grinder", 95),
            ("Espresso Cup Set", 32),
            ("Teapot 0.7 l", 41),
            ("French Press", 36),
            ("Milk Frother", 29),
            ("Coffee Scale", 45),
        ),
        "for the first quiet minutes of the day",
    ),
    Aisle(
        "Outdoor",
        ("Fjellvik", "Tarnhow", "Longstride", "Cairn Supply"),
        ("Ultralight", "Waterproof", "Three-Season", "Packable", "Trail", "Expedition"),
        (
            ("Tent for Two", 289),
            ("Sleeping Mat", 79),
            ("Backpack 45 l", 149),
            ("Head Torch", 39),
            ("Rain Shell", 129),
            ("Trekking Poles", 69),
            ("Camp Stove", 54),
            ("Water Filter", 44),
            ("Hammock", 59),
        ),
        "made for weather that changes its mind",
    ),
    Aisle(
        "Cycling",
        ("Velomont", "Spokesong", "Gravelle", "Ridgeway"),
        ("Commuter", "Gravel", "Reflective", "Aero", "All-Weather", "Touring"),
        (
            ("Helmet", 79),
            ("Pannier 20 l", 64),
            ("Front Light 800 lm", 49),
            ("Floor Pump", 42),
            ("Multi-Tool", 29),
            ("Saddle", 88),
            ("Bottle Cage", 18),
            ("Chain Lock", 57),
        ),
        "for every kilometre between here and there",
    ),
    Aisle(
        "Audio",
        ("Sonnet", "Deepfield", "Aria Works", "Mono Lake"),
        ("Open-Back", "Noise-Cancelling", "Bookshelf", "Bluetooth", "Studio", "Vintage-Style"),
        (
            ("Headphones", 179),
            ("Earbuds", 119),
            ("Speakers (Pair)", 329),
            ("Turntable", 349),
            ("Soundbar", 249),
            ("Microphone", 139),
            ("Headphone Amplifier", 199),
            ("Kitchen Radio", 99),
        ),
        "tuned by ear, not only by chart",
    ),
    Aisle(
        "Desk",
        ("Papeterie Nord", "Linework", "Graphis", "Quiet Office"),
        ("Walnut", "Adjustable", "Linen-Bound", "Brass", "Minimal", "Ergonomic"),
        (
            ("Desk Lamp", 89),
            ("Notebook A5", 16),
            ("Fountain Pen", 58),
            ("Monitor Stand", 72),
            ("Pen Tray", 24),
            ("Desk Mat", 37),
            ("Laptop Sleeve", 44),
            ("Wall Calendar", 21),
            ("Mechanical Keyboard", 149),
        ),
        "that makes a working day look better",
    ),
    Aisle(
        "Books",
        ("Lantern Press", "Harbour House", "Fig & Folio", "Meridian"),
        ("Illustrated", "Pocket", "Annotated", "Collected", "Beginner's", "Complete"),
        (
            ("Atlas of Islands", 34),
            ("Guide to Birdsong", 22),
            ("History of Bread", 26),
            ("Book of Knots", 18),
            ("Letters from the Coast", 19),
            ("Field Notes on Moss", 24),
            ("Stories for Long Trains", 17),
            ("Introduction to Astronomy", 29),
            ("Encyclopedia of Soup", 31),
        ),
        "to be read in one sitting or in ten",
    ),
    Aisle(
        "Garden",
        ("Hortensia", "Greenlock", "Old Orchard", "Terrasol"),
        ("Galvanised", "Long-Handled", "Self-Watering", "Heirloom", "Terracotta", "Cedar"),
        (
            ("Watering Can", 34),
            ("Planter Box", 59),
            ("Pruning Shears", 39),
            ("Tomato Seeds", 5),
            ("Raised Bed", 129),
            ("Hand Trowel", 19),
            ("Bird Feeder", 28),
            ("Herb Garden Set", 32),
        ),
        "for balconies and back gardens alike",
    ),
    Aisle(
        "Home",
        ("Lumen & Loom", "Hyggelund", "Casa Norte", "Softfall"),
        ("Wool", "Linen", "Rattan", "Hand-Woven", "Scented", "Washed-Cotton"),
        (
            ("Throw Blanket", 79),
            ("Cushion Cover", 29),
            ("Table Runner", 34),
            ("Candle", 22),
            ("Laundry Basket", 49),
            ("Duvet Cover", 99),
            ("Floor Lamp", 159),
            ("Wall Mirror", 119),
        ),
        "for rooms that are lived in",
    ),
    Aisle(
        "Photo",
        ("Lichtbild", "Parallax", "Silverhalide", "Northlight"),
        ("Carbon", "Compact", "Leather", "Instant", "Full-Frame", "Weather-Sealed"),
        (
            ("Tripod", 149),
            ("Camera Strap", 45),
            ("Film Camera", 229),
            ("50 mm Lens", 299),
            ("Camera Bag", 98),
            ("Photo Album", 33),
            ("ND Filter Set", 69),
            ("Print Frame", 27),
        ),
        "for pictures worth printing",
    ),
    Aisle(
        "Games",
        ("Meeple Manor", "Dicefold", "Owlbear", "Tabletop Union"),
        ("Cooperative", "Two-Player", "Family", "Deluxe", "Travel", "Wooden"),
        (
            ("Strategy Game", 49),
            ("Puzzle, 1000 Pieces", 19),
            ("Chess Set", 64),
            ("Card Game", 15),
            ("Word Game", 24),
            ("Mystery Box", 39),
            ("Dice Set", 18),
            ("Marble Run", 72),
        ),
        "for evenings that run late",
    ),
    Aisle(
        "Running",
        ("Stride Lab", "Pacemark", "Kilometer Club", "Wolkenlauf"),
        ("Cushioned", "Breathable", "Trail", "Merino", "Reflective", "Featherweight"),
        (
            ("Running Shoes", 139),
            ("Socks (3 Pairs)", 25),
            ("Windbreaker", 89),
            ("Hydration Belt", 42),
            ("Half-Zip Top", 65),
            ("Shorts", 45),
            ("Cap", 28),
            ("Foam Roller", 34),
        ),
        "for the last hill as much as the first",
    ),
)

COLOURS = ("moss", "ink", "sand", "clay", "slate", "cream", "rust", "sky", "plum", "charcoal")
