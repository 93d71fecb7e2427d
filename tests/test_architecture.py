"""Imports lead down, and the drawing of the house is true."""

from experiments.architecture import PAGE, against_the_floors, drawing, imports


def test_every_import_leads_to_a_lower_floor():
    assert against_the_floors(imports()) == []


def test_the_drawing_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == drawing(imports()), "draw it anew: python -m experiments architecture"


def test_an_import_that_runs_upward_is_told():
    rooms = imports()
    rooms["masks"].add("cli")
    assert "masks on floor 1 imports cli on floor 8" in against_the_floors(rooms)
