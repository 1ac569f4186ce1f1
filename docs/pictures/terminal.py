"""Turns the output of `tmux capture-pane -e -p` into an SVG picture of the terminal:

terminal.py TITLE < SCREEN > FILE.svg
"""

import html
import re
import sys

CELL, LINE, SIZE = 8.43, 18, 14  # width and height of a character, and the size of the font
BAR, EDGE = 34, 14  # height of the title bar, and the space around the text
FORE, BACK = "#d8dee9", "#1b1f27"
BASIC = ["#2e3440", "#f0717b", "#9ccc79", "#ebcb8b", "#6fa8dc", "#c594c5", "#6cc7c3", "#d8dee9"]
BRIGHT = ["#6c7689", "#ff8f98", "#b5e08f", "#ffe0a3", "#8fc1f2", "#dcb0dc", "#8fe0dc", "#ffffff"]
# Parts of a character's cell that are filled: left, top, right, bottom.
BLOCKS = {"\u2580": (0, 0, 1, 0.5), "\u2584": (0, 0.5, 1, 1), "\u2588": (0, 0, 1, 1)}
BLOCKS.update({chr(0x2590 - eighths): (0, 0, eighths / 8, 1) for eighths in range(1, 8)})


def indexed(index):
    """A colour of the 256."""
    if index < 16:
        return (BASIC + BRIGHT)[index]
    if index >= 232:
        return "#" + f"{8 + 10 * (index - 232):02x}" * 3
    index -= 16
    parts = (index // 36, index // 6 % 6, index % 6)
    return "#" + "".join(f"{0 if part == 0 else 55 + 40 * part:02x}" for part in parts)


class Style:
    def __init__(self):
        self.fore = self.back = None
        self.bold = self.dim = self.reverse = self.underline = False

    def apply(self, codes):
        codes = [int(code or 0) for code in codes.replace(":", ";").split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.__init__()
            elif code in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "underline", 7: "reverse"}[code], True)
            elif code == 22:
                self.bold = self.dim = False
            elif code in (24, 27):
                setattr(self, {24: "underline", 27: "reverse"}[code], False)
            elif code in (38, 48):
                kind = codes.pop(0)
                if kind == 5:
                    color = indexed(codes.pop(0))
                else:
                    color = "#" + "".join(f"{codes.pop(0):02x}" for _ in range(3))
                setattr(self, "fore" if code == 38 else "back", color)
            elif code in (39, 49):
                setattr(self, "fore" if code == 39 else "back", None)
            elif 30 <= code < 38 or 90 <= code < 98:
                self.fore = (BASIC if code < 90 else BRIGHT)[code % 10]
            elif 40 <= code < 48 or 100 <= code < 108:
                self.back = (BASIC if code < 100 else BRIGHT)[code % 10]

    def colors(self):
        """The colours of the text and of its background; the latter may be none."""
        if self.reverse:
            return self.back or BACK, self.fore or FORE
        return self.fore or FORE, self.back

    def attributes(self):
        text = ""
        if self.bold:
            text += ' font-weight="bold"'
        if self.dim:
            text += ' opacity=".6"'
        if self.underline:
            text += ' text-decoration="underline"'
        return text


def cells(line, style):
    """The characters of a line, each with its colours and the other attributes.

    The next line continues with the style.
    """
    for part in re.split("(\x1b\\[[0-9;:]*m)", line):
        if part.startswith("\x1b["):
            style.apply(part[2:-1])
        else:
            for character in re.sub("\x1b.|[\x00-\x1f]", "", part):
                yield character, *style.colors(), style.attributes()


def runs(items, key):
    """Consecutive items with the same key, as (column, key, items)."""
    start = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or key(items[end]) != key(items[start]):
            yield start, key(items[start]), items[start:end]
            start = end


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rectangles(line, row):
    """The backgrounds of the text, then the block characters: [((layer, colour), path)]."""
    paths = []

    def fill(layer, color, left, top, right, bottom):
        x, y = EDGE + left * CELL, BAR + EDGE / 2 + (row + top) * LINE
        width, height = number((right - left) * CELL), number((bottom - top) * LINE)
        path = f"M{number(x)} {number(y)}h{width}v{height}h-{width}z"
        paths.append(((layer, color), path))

    for at, back, part in runs(line, lambda cell: cell[2]):
        if back:
            fill(0, back, at, 0, at + len(part), 1)
    for at, (character, fore), part in runs(line, lambda cell: (cell[0], cell[1])):
        if character in BLOCKS:
            left, top, right, bottom = BLOCKS[character]
            fill(1, fore, at + left, top, at + len(part) - 1 + right, bottom)
    return paths


def texts(line, row):
    y = number(BAR + EDGE / 2 + row * LINE + 13.5)
    for at, (fore, attributes), part in runs(line, lambda cell: (cell[1], cell[3])):
        text = "".join(" " if character in BLOCKS else character for character, *_ in part)
        # Words with many spaces between them keep their columns in every font.
        for words in re.finditer(r"\S+(?: \S+)*", text):
            x, length = number(EDGE + (at + words.start()) * CELL), number(len(words[0]) * CELL)
            color = "" if fore == FORE else f' fill="{fore}"'
            text = html.escape(words[0])
            yield f'<text x="{x}" y="{y}" textLength="{length}"{color}{attributes}>{text}</text>'


def main():
    title = sys.argv[1]
    style = Style()
    lines = [list(cells(line, style)) for line in sys.stdin.read().rstrip("\n").split("\n")]
    columns = max(int(sys.argv[2]) if len(sys.argv) > 2 else 0, *map(len, lines))
    width = number(2 * EDGE + columns * CELL)
    height = number(BAR + EDGE + len(lines) * LINE + EDGE / 2)
    paths = {}
    for row, line in enumerate(lines):
        for key, path in rectangles(line, row):
            paths.setdefault(key, []).append(path)
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        f'font-size="{SIZE}" fill="{FORE}">'
    )
    print(f"<title>{html.escape(title)}</title>")
    print(f'<rect width="{width}" height="{height}" rx="8" fill="{BACK}"/>')
    for at, color in enumerate(["#ff5f57", "#febc2e", "#28c840"]):
        print(f'<circle cx="{20 + 20 * at}" cy="17" r="6" fill="{color}"/>')
    print(
        f'<text x="{number(float(width) / 2)}" y="22" text-anchor="middle" opacity=".7">'
        f"{html.escape(title)}</text>"
    )
    print('<g shape-rendering="crispEdges">')
    for (_, color), parts in sorted(paths.items(), key=lambda item: item[0][0]):
        print(f'<path fill="{color}" d="{"".join(parts)}"/>')
    print("</g>")
    print('<g xml:space="preserve">')
    for row, line in enumerate(lines):
        for text in texts(line, row):
            print(text)
    print("</g>")
    print("</svg>")


if __name__ == "__main__":
    main()
