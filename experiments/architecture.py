"""The floors of the package, drawn from its real imports: `python -m experiments architecture`.

A room is a module, or a folder of them (the checks, the widgets). It may import rooms of lower floors only. An arrow is
left out where others lead to the same room, floor by floor.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRAWING = ROOT / "docs" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms -->\n", "<!-- end of rooms -->\n"  # in the page

FLOORS = (  # within a floor in the order that crosses fewest arrows
    ("toy_faces", "files", "formats", "masks", "device", "extras", "filtering"),
    ("metrics", "features", "images", "recipe", "flow", "classical", "kernels"),
    ("losses", "datasets", "model"),
    ("statistics", "batches", "evaluation", "lite", "released"),
    ("figures", "weights", "checks"),
    ("training", "inpainting"),
    ("publish", "lesson", "doctor", "widgets"),
    ("cli",),
)
WIDTH, HEIGHT, GAP, MARGIN = 108, 30, 14, 20  # of a room, between rooms, and around all, in pixels
STOREY = 74  # from floor to floor


def imports() -> dict[str, set[str]]:
    """Each room of the package, and the rooms that it imports."""
    package = ROOT / "misf_lite"
    rooms: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room.startswith("__"):  # the package's face hands names on
            continue
        rooms.setdefault(room, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                rooms[room].update(imported(node.module, [name.name for name in node.names]))
    known = rooms.keys()
    return {room: (others & known) - {room} for room, others in rooms.items()}


def imported(module: str, names: list[str]) -> list[str]:
    """``from misf_lite.a.b import c`` imports room a, ``from misf_lite import a, b`` rooms a and b."""
    package, _, rest = module.partition(".")
    if package != "misf_lite":
        return []
    return [rest.partition(".")[0]] if rest else names


def against_the_floors(rooms: dict[str, set[str]]) -> list[str]:
    """What is wrong, in one sentence each: a room without a floor, or an import that does not lead down."""
    floor = {room: number for number, names in enumerate(FLOORS, 1) for room in names}
    wrong = [f"{room} has no floor" for room in rooms.keys() - floor.keys()]
    wrong += [f"there is no room {room}" for room in floor.keys() - rooms.keys()]
    for room, others in rooms.items():
        for other in others:
            if floor.get(room, 0) <= floor.get(other, 0):
                wrong.append(f"{room} on floor {floor.get(room)} imports {other} on floor {floor.get(other)}")
    return sorted(wrong)


def nearest(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that no chain of other imports stands for."""

    def below(room: str) -> set[str]:
        reached = set(rooms[room])
        for other in rooms[room]:
            reached |= below(other)
        return reached

    pairs = []
    for room, others in sorted(rooms.items()):
        through = set().union(*(below(other) for other in others))
        pairs += [(room, other) for other in sorted(others - through)]
    return pairs


def drawing(rooms: dict[str, set[str]]) -> str:
    """The house as SVG, the highest floor on top."""
    widest = max(len(floor) for floor in FLOORS)
    width = 2 * MARGIN + 30 + widest * (WIDTH + GAP)
    height = 2 * MARGIN + len(FLOORS) * STOREY
    places = {}
    font = 'font-family="sans-serif" font-size="13"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#56707f"/></marker>',
    ]
    for number, floor in enumerate(FLOORS, 1):
        top = height - MARGIN - number * STOREY + (STOREY - HEIGHT) // 2
        left = MARGIN + 30 + (widest - len(floor)) * (WIDTH + GAP) // 2
        for i, room in enumerate(floor):
            places[room] = (left + i * (WIDTH + GAP), top)
        y = top + HEIGHT // 2
        lines.append(f'<text x="{MARGIN}" y="{y + 5}" fill="#767676">{number}</text>')
    for room, other in nearest(rooms):
        x0, y0 = places[room][0] + WIDTH // 2, places[room][1] + HEIGHT
        x1, y1 = places[other][0] + WIDTH // 2, places[other][1] - 1
        bend = (y1 - y0) // 2
        curve = f"M{x0} {y0}C{x0} {y0 + bend} {x1} {y1 - bend} {x1} {y1}"
        lines.append(f'<path d="{curve}" fill="none" stroke="#56707f" stroke-width="1.2" marker-end="url(#head)"/>')
    for room, (x, y) in places.items():
        box = f'x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"'
        lines.append(f'<rect {box} fill="#e8f1f8" stroke="#0072b2"/>')
        lines.append(f'<text x="{x + WIDTH // 2}" y="{y + 20}" text-anchor="middle">{room}</text>')
    return "\n".join([*lines, "</svg>", ""])


def listing() -> str:
    """Every room with the first sentence of its docstring, floor by floor, the highest first."""
    lines = []
    for number, floor in reversed(list(enumerate(FLOORS, 1))):
        for room in sorted(floor):
            folder = ROOT / "misf_lite" / room
            path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            lines.append(f"| {number} | `{room}` | {' '.join(docstring.split(chr(10) * 2)[0].split())} |")
    return "\n".join(["| floor | module | |", "|---|---|---|", *lines, ""])


def page() -> str:
    """The page with today's list in it."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + listing() + END + rest.partition(END)[2]
