"""The chart: every point inside the frame, whatever the numbers; names that are markup stay text."""

from __future__ import annotations

import xml.etree.ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from wsklab.orchestrator.results.plot import HEIGHT, WIDTH, line_chart

SVG = "{http://www.w3.org/2000/svg}"
values = st.floats(0, 1e9, allow_nan=False)


@given(
    st.dictionaries(
        st.text("<&\"'ab ", max_size=8), st.lists(st.tuples(values, values), min_size=1), min_size=1, max_size=6
    )
)
def test_every_point_lies_inside_the_picture(series: dict[str, list[tuple[float, float]]]) -> None:
    chart = Xml.fromstring(line_chart("<title> & more", "x", "y", series))
    drawn = chart.findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in drawn] == [len(points) for points in series.values()]
    for line in drawn:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert {text.text or "" for text in chart.findall(f"{SVG}text")} >= {"<title> & more", *series}


def test_a_slope_is_as_steep_as_it_is() -> None:
    chart = Xml.fromstring(line_chart("t", "x", "y", {"flat": [(0, 100), (10, 100)], "up": [(0, 0), (10, 100)]}))
    flat, up = (
        [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
        for line in chart.findall(f"{SVG}polyline")
    )
    assert flat[0][1] == flat[1][1] == up[1][1] < up[0][1]
