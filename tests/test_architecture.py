"""Imports lead down, and the drawing of the house is true."""

from experiments.architecture import DRAWING, PAGE, against_the_floors, drawing, imports, page


def test_every_import_leads_to_a_lower_floor():
    assert against_the_floors(imports()) == []


def test_the_drawing_and_the_list_are_not_stale():
    advice = "make them anew: python -m experiments architecture"
    assert DRAWING.read_text(encoding="utf-8") == drawing(imports()), advice
    assert PAGE.read_text(encoding="utf-8") == page(), advice


def test_an_import_that_runs_upward_is_told():
    rooms = imports()
    rooms["masks"].add("cli")
    assert "masks on floor 1 imports cli on floor 8" in against_the_floors(rooms)
