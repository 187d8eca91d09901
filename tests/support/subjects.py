"""Pictures with a subject that people look at, and where it is: faces and products on grounds that distract from them.

Made up, the same on every machine and run: no photograph with a licence of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from PIL import Image, ImageDraw, ImageFilter

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of a picture's sides."""

SIZES = ((480, 320), (320, 480), (640, 240))
SKINS = ("#f3d3b8", "#e0ac84", "#c68a5e", "#99623c", "#6b432a")
HAIR = ("#2b1d14", "#5a3825", "#b58b4c", "#8d8d8d", "#161616")
GOODS = ("#d81e2c", "#1f5fd0", "#f2b20c", "#0f9d58", "#7b2fb5", "#e8621a")


@dataclass(frozen=True, slots=True)
class Subject:
    """A picture, and the boxes of what a crop should keep."""

    name: str
    picture: Image.Image
    boxes: Sequence[Box]

    def kept(self, crop: Box) -> float:
        """The share of their area that a crop keeps."""
        return sum(_area(_common(box, crop)) for box in self.boxes) / sum(map(_area, self.boxes))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _common(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def crops(subject: Subject) -> Iterator[tuple[float, float]]:
    """The shares of a picture's sides that squares, wide and tall crops have; those that leave a choice."""
    width, height = subject.picture.size
    for across, down in ((1, 1), (2, 1), (1, 2)):
        scale = min(width / across, height / down)
        part = across * scale / width, down * scale / height
        if min(part) < 0.9:
            yield part


@cache
def subjects() -> tuple[Subject, ...]:
    """Faces and products on every ground, at places all over the picture."""
    made: list[Subject] = []
    for draw in (_face, _product):
        for ground in (_plain, _foliage, _shelves, _wall):
            for number, size in enumerate(SIZES):
                random = Random(f"{draw.__name__} {ground.__name__} {number}")
                made.append(_made(draw, ground, size, random))
    return tuple(made)


def _made(
    draw: Callable[[Image.Image, Box, Random], None],
    ground: Callable[[tuple[int, int], Random], Image.Image],
    size: tuple[int, int],
    random: Random,
) -> Subject:
    picture = ground(size, random)
    height = min(size) * random.uniform(0.3, 0.5)
    width = height * 0.75
    left, top = random.uniform(0, size[0] - width), random.uniform(0, size[1] - height)
    box = left, top, left + width, top + height
    draw(picture, box, random)
    name = f"{draw.__name__[1:]} on {ground.__name__[1:]}, {size[0]} x {size[1]}"
    softened = picture.filter(ImageFilter.GaussianBlur(0.6))
    share = box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]
    return Subject(name, softened, [share])


def _face(picture: Image.Image, box: Box, random: Random) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    draw = ImageDraw.Draw(picture)
    skin, hair = random.choice(SKINS), random.choice(HAIR)

    def oval(x: float, y: float, across: float, down: float, colour: str) -> None:
        middle = left + x * width, top + y * height
        half = across * width / 2, down * height / 2
        draw.ellipse((middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]), colour)

    oval(0.5, 0.42, 1.0, 0.84, hair)
    oval(0.5, 0.55, 0.8, 0.88, skin)
    for x in (0.33, 0.67):
        oval(x, 0.48, 0.16, 0.08, "white")
        oval(x, 0.48, 0.07, 0.07, "#20262e")
        draw.line(
            [(left + (x - 0.09) * width, top + 0.4 * height), (left + (x + 0.09) * width, top + 0.4 * height)], hair
        )
    draw.line([(left + 0.5 * width, top + 0.5 * height), (left + 0.46 * width, top + 0.64 * height)], "#7a4a35", 2)
    oval(0.5, 0.77, 0.3, 0.07, "#a8443f")


def _product(picture: Image.Image, box: Box, random: Random) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    draw = ImageDraw.Draw(picture)
    colour, other = random.sample(GOODS, 2)
    draw.rectangle((left + 0.36 * width, top, left + 0.64 * width, top + 0.2 * height), other)
    draw.rounded_rectangle((left + 0.1 * width, top + 0.15 * height, right - 0.1 * width, bottom), width / 6, colour)
    draw.rectangle((left + 0.1 * width, top + 0.45 * height, right - 0.1 * width, top + 0.75 * height), "#f4f0e6")
    for line in (0.52, 0.6, 0.68):
        draw.line([(left + 0.2 * width, top + line * height), (right - 0.2 * width, top + line * height)], "#333333", 2)
    draw.line([(left + 0.2 * width, top + 0.25 * height), (left + 0.2 * width, top + 0.42 * height)], "white", 3)


def _plain(size: tuple[int, int], random: Random) -> Image.Image:
    tone = random.choice((("#ffffff", "#d8d8d8"), ("#e6e1da", "#b9b2a8"), ("#9fb4c7", "#6f8496")))
    ground = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, tone[1]), Image.new("RGB", size, tone[0]), ground)


def _foliage(size: tuple[int, int], random: Random) -> Image.Image:
    """Green detail on every scale, in more and in less light."""
    light = Image.new("L", size)
    for share, scale in ((0.5, 6), (0.5, 24), (0.5, 100)):
        light = Image.blend(light, _noise(size, scale, random), share)
    return Image.merge(
        "RGB", [light.point([round(level * share) for level in range(256)]) for share in (0.5, 0.8, 0.3)]
    )


def _shelves(size: tuple[int, int], random: Random) -> Image.Image:
    """Backs of books, of muted colours."""
    picture = Image.new("RGB", size, "#3b3028")
    draw = ImageDraw.Draw(picture)
    high = size[1] // 4
    for top in range(0, size[1], high):
        left = 0
        while left < size[0]:
            width = random.randint(6, 22)
            grey = random.randint(60, 170)
            tint = tuple(min(255, grey + random.randint(-18, 18)) for _ in range(3))
            draw.rectangle((left, top + random.randint(2, 14), left + width - 2, top + high - 4), tint)
            left += width
    return picture


def _wall(size: tuple[int, int], random: Random) -> Image.Image:
    """Bricks, whose colour is close to that of skin."""
    picture = Image.new("RGB", size, "#8f8478")
    draw = ImageDraw.Draw(picture)
    for row, top in enumerate(range(0, size[1], 16)):
        for left in range(-20 * (row % 2), size[0], 40):
            tone = random.randint(-16, 16)
            draw.rectangle((left, top, left + 37, top + 13), (148 + tone, 92 + tone, 74 + tone))
    return picture


def _noise(size: tuple[int, int], scale: int, random: Random) -> Image.Image:
    small = max(2, size[0] // scale), max(2, size[1] // scale)
    return Image.frombytes("L", small, random.randbytes(small[0] * small[1])).resize(size, Image.Resampling.BICUBIC)
