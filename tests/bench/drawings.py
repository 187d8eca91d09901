"""Graphics as people upload them, made up: screens, text, charts, line art, gradients, logos. The same on every run.

They are drawn at twice their size and halved, which gives the soft edges that a renderer gives them.
"""

from collections.abc import Callable, Sequence
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

Picture = Image.Image

_WORDS = ("the", "quick", "brown", "fox", "lazy", "dog", "seven", "wizards", "quietly", "bake", "jelly", "boxes")
_COLOURS = ("#2563eb", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#4b5563")


class _Sheet:
    """A picture being drawn, in the coordinates of the finished one."""

    def __init__(self, width: int, height: int, colour: str = "#ffffff", mode: str = "RGB") -> None:
        self.size = width, height
        self.large = Image.new(mode, (2 * width, 2 * height), colour)
        self._draw = ImageDraw.Draw(self.large)
        self.random = Random(width * height)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        self._draw.line([(2 * x, 2 * y) for x, y in points], colour, round(2 * width), joint="curve")

    def box(
        self, box: tuple[float, float, float, float], colour: str, edge: str | None = None, round_: int = 0
    ) -> None:
        left, top, right, bottom = (2 * at for at in box)
        self._draw.rounded_rectangle((left, top, right, bottom), 2 * round_, colour, edge, 2)

    def disc(self, x: float, y: float, radius: float, colour: str) -> None:
        self._draw.ellipse((2 * (x - radius), 2 * (y - radius), 2 * (x + radius), 2 * (y + radius)), colour)

    def area(self, points: Sequence[tuple[float, float]], colour: str, edge: str | None = None) -> None:
        self._draw.polygon([(2 * x, 2 * y) for x, y in points], colour, edge, 4)

    def text(self, x: float, y: float, text: str, size: float, colour: str) -> None:
        self._draw.text((2 * x, 2 * y), text, colour, ImageFont.load_default(2 * size))

    def words(self, count: int) -> str:
        return " ".join(self.random.choice(_WORDS) for _ in range(count))

    def done(self) -> Picture:
        return self.large.resize(self.size, Image.Resampling.BOX)


def page(ink: str = "#000000", paper: str = "#ffffff") -> Picture:
    """A page of text."""
    sheet = _Sheet(1654, 2339, paper)
    sheet.text(160, 140, sheet.words(4).title(), 56, ink)
    for row in range(62):
        if row % 9 != 8:
            sheet.text(160, 250 + row * 31, sheet.words(15), 22, ink)
    return sheet.done()


def red_text() -> Picture:
    """Saturated letters, which half the colour resolution smears."""
    sheet = _Sheet(1600, 1200)
    for row in range(20):
        colour = ("#ff0000", "#0000ff", "#ff00ff", "#008000")[row % 4]
        sheet.text(40, 30 + row * 58, sheet.words(8), 14 + 2 * row, colour)
    return sheet.done()


def editor() -> Picture:
    """A dark screen of code."""
    sheet = _Sheet(1920, 1080, "#1e1e2e")
    sheet.box((0, 0, 260, 1080), "#181825")
    for row in range(46):
        x = 300.0 + 28 * (row * 7 % 4)
        sheet.text(264, 14 + row * 23, f"{row:3}", 14, "#6c7086")
        for word in sheet.words(2 + row % 8).split():
            sheet.text(x, 14 + row * 23, word, 15, sheet.random.choice(("#cdd6f4", "#f38ba8", "#a6e3a1", "#89b4fa")))
            x += 10.0 * len(word) + 8
    return sheet.done()


def form() -> Picture:
    """A window with fields and buttons."""
    sheet = _Sheet(1440, 900, "#f1f5f9")
    sheet.box((0, 0, 1440, 64), "#0f172a")
    sheet.text(24, 16, "Dashboard", 26, "#ffffff")
    for card in range(9):
        x, y = 40 + card % 3 * 460, 100 + card // 3 * 260
        sheet.box((x, y, x + 430, y + 230), "#ffffff", "#cbd5e1", 12)
        sheet.text(x + 20, y + 16, sheet.words(3).title(), 22, "#0f172a")
        sheet.text(x + 20, y + 54, sheet.words(6), 15, "#64748b")
        sheet.box((x + 20, y + 90, x + 410, y + 130), "#f8fafc", "#94a3b8", 6)
        sheet.box((x + 20, y + 160, x + 170, y + 204), _COLOURS[card % 8], None, 8)
        sheet.text(x + 44, y + 168, "Save", 20, "#ffffff")
    return sheet.done()


def lines() -> Picture:
    """A chart of thin curves over a grid."""
    sheet = _Sheet(1600, 1000)
    for at in range(0, 1000, 50):
        sheet.line([(80, at), (1560, at)], "#e5e7eb")
        sheet.text(20, at, str(1000 - at), 16, "#374151")
    for number, colour in enumerate(_COLOURS):
        level, points = 500.0, list[tuple[float, float]]()
        for x in range(80, 1560, 8):
            level = min(980.0, max(20.0, level + sheet.random.gauss(0, 18) + number - 3.5))
            points.append((x, level))
        sheet.line(points, colour, 2)
    return sheet.done()


def bars() -> Picture:
    """A chart of flat colours."""
    sheet = _Sheet(1600, 1000)
    for at in range(32):
        height = sheet.random.randrange(80, 860)
        sheet.box((60 + at * 47, 940 - height, 98 + at * 47, 940), _COLOURS[at % 8])
        sheet.text(62 + at * 47, 948, str(height), 16, "#111827")
    sheet.line([(50, 940), (1580, 940)], "#111827", 2)
    return sheet.done()


def line_art() -> Picture:
    """Rosettes in ink of one pixel."""
    sheet = _Sheet(1800, 1350, "#fffdf5")
    for rosette in range(12):
        x, y = 230 + rosette % 4 * 450, 230 + rosette // 4 * 450
        petals = rosette + 3
        turns = [step * 2 * pi / 720 for step in range(721)]
        for size in range(40, 210, 12):
            radii = [size * (0.72 + 0.28 * cos(petals * turn)) for turn in turns]
            points = [(x + far * cos(turn), y + far * sin(turn)) for far, turn in zip(radii, turns, strict=True)]
            sheet.line(points, "#1f2937")
    return sheet.done()


def poster() -> Picture:
    """Large letters on a gradient that shows bands."""
    ramp = [Image.linear_gradient("L").rotate(90 * turn).resize((1500, 2100)) for turn in range(3)]
    picture = Image.merge("RGB", ramp)
    sheet = _Sheet(1500, 2100)
    sheet.large.paste(picture.resize((3000, 4200), Image.Resampling.BILINEAR))
    for row, word in enumerate(("SUMMER", "MUSIC", "NIGHT", "2026")):
        sheet.text(90, 300 + row * 360, word, 300, "#ffffff")
    return sheet.done()


def logo() -> Picture:
    """A mark with soft edges on nothing."""
    sheet = _Sheet(1600, 1600, "#ffffff00", "RGBA")
    for ring, colour in enumerate(_COLOURS):
        turn = ring * 2 * pi / 8
        sheet.disc(800 + 380 * cos(turn), 800 + 380 * sin(turn), 300, colour)
    sheet.disc(800, 800, 360, "#ffffff")
    sheet.text(560, 660, "imgs", 220, "#111827")
    return sheet.done()


def icons() -> Picture:
    """Icons with shadows on nothing."""
    sheet = _Sheet(1536, 1536, "#00000000", "RGBA")
    shadow = _Sheet(1536, 1536, "#00000000", "RGBA")
    for at in range(64):
        x, y, colour = 96 + at % 8 * 192, 96 + at // 8 * 192, _COLOURS[at * 5 % 8]
        shadow.disc(x + 4, y + 10, 74, "#00000090")
        sheet.disc(x, y, 74, colour)
        sides = 3 + at % 6
        turns = [turn * 2 * pi / sides for turn in range(sides)]
        sheet.area([(x + 46 * sin(turn), y - 46 * cos(turn)) for turn in turns], "#ffffff")
    return Image.alpha_composite(shadow.done().filter(ImageFilter.GaussianBlur(6)), sheet.done())


def street_map() -> Picture:
    """A map: areas, roads and names."""
    sheet = _Sheet(1800, 1400, "#f2efe9")
    for _ in range(60):
        x, y = sheet.random.randrange(1800), sheet.random.randrange(1400)
        corners = [(x + sheet.random.randrange(-130, 130), y + sheet.random.randrange(-130, 130)) for _ in range(5)]
        sheet.area(corners, sheet.random.choice(("#c8e6c9", "#aad3df", "#e0dfdf", "#f7e9c8")))
    for road in range(70):
        start, end = sheet.random.randrange(1400), sheet.random.randrange(1400)
        way: list[tuple[float, float]] = [(0, start), (900, (start + end) / 2 + 40), (1800, end)]
        if road % 2:
            way = [(y * 9 / 7, x * 7 / 9) for x, y in way]
        sheet.line(way, "#b0a99f", 7 if road < 14 else 4)
        sheet.line(way, "#fcd6a4" if road < 14 else "#ffffff", 5 if road < 14 else 2)
    for _ in range(90):
        place = sheet.random.randrange(1700), sheet.random.randrange(1370)
        sheet.text(*place, sheet.words(2).title(), 15, "#333333")
    return sheet.done()


def pixel_art() -> Picture:
    """Hard squares of few colours."""
    random = Random(8)
    small = Image.new("P", (96, 72))
    small.putpalette([random.randrange(256) for _ in range(48)])
    half = [[random.randrange(16) if random.random() < 0.6 else 0 for _ in range(48)] for _ in range(72)]
    small.putdata([value for row in half for value in (*row, *reversed(row))])
    return small.convert("RGB").resize((1536, 1152), Image.Resampling.NEAREST)


def comic() -> Picture:
    """Flat colours between black outlines, and speech."""
    sheet = _Sheet(1400, 1900, "#fef9c3")
    for panel in range(6):
        x, y = 40 + panel % 2 * 670, 40 + panel // 2 * 615
        sheet.box((x, y, x + 650, y + 595), _COLOURS[panel], "#000000")
        for _ in range(9):
            corner = x + sheet.random.randrange(60, 520), y + sheet.random.randrange(200, 500)
            points = [(corner[0] + 90 * cos(t * 2.1), corner[1] + 80 * sin(t * 2.1)) for t in range(3)]
            sheet.area(points, sheet.random.choice(_COLOURS), "#000000")
        sheet.box((x + 40, y + 30, x + 610, y + 130), "#ffffff", "#000000", 40)
        sheet.text(x + 70, y + 60, sheet.words(5).upper(), 24, "#000000")
    return sheet.done()


def diagram() -> Picture:
    """Boxes, arrows and labels."""
    sheet = _Sheet(1700, 1100)
    for at in range(20):
        x, y = 60 + at % 5 * 330, 60 + at // 5 * 260
        if at % 5 < 4:
            sheet.line([(x + 220, y + 60), (x + 330, y + 60)], "#475569", 2)
            sheet.area([(x + 330, y + 60), (x + 314, y + 52), (x + 314, y + 68)], "#475569")
        sheet.box((x, y, x + 220, y + 120), "#eff6ff", "#1d4ed8", 10)
        sheet.text(x + 20, y + 20, sheet.words(2), 22, "#1e3a8a")
        sheet.text(x + 20, y + 66, sheet.words(3), 15, "#475569")
    return sheet.done()


DRAWINGS: dict[str, Callable[[], Picture]] = {
    drawing.__name__: drawing
    for drawing in (
        *(page, red_text, editor, form, lines, bars, line_art, poster),
        *(logo, icons, street_map, pixel_art, comic, diagram),
    )
}
"""Each by its name; `logo` and `icons` have alpha."""
