"""The page in a browser: what it shows is what Python computes, and every control acts."""

import base64
import json
import time
import xml.etree.ElementTree

import numpy as np
import pytest

from localgrad.explorer.launch import link, serve
from localgrad.explorer.state import State, read_state
from localgrad.explorer.views import mode_space

FINEST = mode_space.RESTING[-1]
NOT_SHOWN = {
    "view",
    "story",
    "compare",
    "duration",
    "start_a",
    "start_b",
    "start_w",
}  # which have other controls, or none

pytestmark = pytest.mark.slow  # a browser


class Watched:
    """A page of the explorer, with what it complained of and where it went."""

    def __init__(self, browser, explorer, state=None, selector="canvas[data-count]", **size):
        self.complaints, self.addresses = [], set()
        self.base = explorer.url.partition("#")[0]
        self.page = browser.new_page(viewport={"width": 1280, "height": 800} | size)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.addresses.add(request.url))
        self.page.on("websocket", lambda opened: self.addresses.add(opened.url))
        self.page.goto(self.base + link(state or State()))
        self.wait(selector)

    def wait(self, selector, state="attached"):
        return self.page.wait_for_selector(selector, timeout=180_000, state=state)

    def finest(self):
        """Wait for the map at rest."""
        self.wait(f"canvas[data-count='{FINEST}']")

    def request(self):
        """The number of the request that the map answers."""
        return int(self.page.get_attribute("canvas", "data-request"))

    def until(self, is_so):
        """Wait until a function of the page says so (Playwright's own way needs `eval`, which the page forbids)."""
        end = time.monotonic() + 180
        while not is_so():
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)

    def controls(self):
        """The fields of the sliders and of the choices that are there now."""
        names = "all => all.map(one => one.id.slice(7))"
        sliders, choices = "input[type=range][id^=slider-]", "[id^=choice-]"
        return self.page.eval_on_selector_all(sliders, names), self.page.eval_on_selector_all(choices, names)

    def slide(self, name, value):
        """Move a slider, and wait for the map."""
        before = self.request()
        self.page.locator(f"#slider-{name}").evaluate(
            """(slider, value) => {
              slider.value = value;
              slider.dispatchEvent(new Event("input", { bubbles: true }));
              slider.dispatchEvent(new Event("change", { bubbles: true }));
            }""",
            value,
        )
        self.until_newer(before)

    def until_newer(self, request):
        self.until(lambda: self.request() > request)

    def pixels(self):
        """The map as the canvas holds it, shape `"row column 4"`."""
        width, text = self.page.evaluate(
            """() => {
              const canvas = document.querySelector("canvas[data-map]");
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let text = "";
              for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
              return [canvas.width, btoa(text)];
            }"""
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, width, 4)

    def close(self):
        self.page.close()


@pytest.fixture
def watched(browser, explorer):
    opened = []

    def open_page(state=None, **options):
        opened.append(Watched(browser, explorer, state, **options))
        return opened[-1]

    yield open_page
    for page in opened:
        assert page.complaints == []
        own = page.base.partition("//")[2]
        assert {x for x in page.addresses if x.partition("//")[2].partition("/")[0] + "/" != own} == set()
        page.close()


def expected_codes(state, count):
    maps = (part for part in mode_space.basin(state, True) if part)
    return next(arrays["codes"] for header, arrays in maps if header["count"] == count)


def expected(state, count):
    return mode_space.palette()[expected_codes(state, count)]


@pytest.mark.parametrize("changes", [{}, {"plane": "bw", "fixed": 0.7, "feedback_share": 0.4, "lags": 1}])
def test_the_canvas_holds_the_bytes_that_python_computes(watched, changes):
    state = read_state(changes)
    page = watched(state)
    page.finest()
    shown = page.pixels()
    assert shown.shape == (FINEST, FINEST, 4)
    assert np.array_equal(shown, expected(state, FINEST))


def test_every_field_of_a_state_has_its_control_in_some_view(watched):
    page, found = watched(), set()
    for view in State.model_fields["view"].annotation.__args__:
        page.page.locator(f"[role=tab][data-view={view}]").click()
        sliders, choices = page.controls()
        found |= {*sliders, *choices}
    assert found == set(State.model_fields) - NOT_SHOWN


def test_every_slider_acts_and_the_link_restores_it(watched):
    page = watched()
    sliders, choices = page.controls()
    for name in sliders:
        slider = page.page.locator(f"#slider-{name}")
        ends = [float(slider.get_attribute(end)) for end in ("min", "max")]
        page.slide(name, 1 if name == "lags" else 0.25 * ends[0] + 0.75 * ends[1])
        assert f"{name}=" in page.page.url
    for name in set(choices) - {"poles"}:  # of which paths would be compiled first
        before = page.request()
        page.page.locator(f"#choice-{name} button").last.click()
        page.until_newer(before)
    page.finest()
    again = watched()
    again.page.goto(page.page.url)
    again.page.reload()
    again.finest()
    assert {name: float(again.page.locator(f"#slider-{name}").input_value()) for name in sliders} == {
        name: float(page.page.locator(f"#slider-{name}").input_value()) for name in sliders
    }
    assert np.array_equal(again.pixels(), page.pixels())


def test_a_start_is_dragged_and_moved_by_keys(watched):
    page = watched()
    page.wait("#paths td")
    map_ = page.page.locator("svg[role=application]")
    box = map_.bounding_box()
    page.page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 150, box["y"] + 250, steps=5)
    page.page.mouse.up()
    page.page.wait_for_url("**/#*start_a=*")
    dragged = page.page.url
    map_.focus()
    page.page.keyboard.press("ArrowRight")
    page.until(lambda: page.page.url != dragged)
    assert page.page.locator("#paths tr").count() >= 3


def test_exports_open(watched, tmp_path):
    state = read_state({"plane": "aw", "fixed": 0.8})
    page = watched(state)
    page.wait("#paths td")
    page.finest()
    files = {}
    for kind in ("PNG", "SVG", "JSON"):
        with page.page.expect_download() as download:
            page.page.locator("#export button", has_text=kind).click()
        files[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[kind])
    assert files["PNG"].read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    drawn = xml.etree.ElementTree.parse(files["SVG"]).getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}image")) == 1
    document = json.loads(files["JSON"].read_text(encoding="utf-8"))
    codes = document["answers"]["basin"]["arrays"]["codes"]
    assert np.array_equal(np.reshape(codes["values"], codes["shape"]), expected_codes(state, FINEST))
    assert read_state(document["state"]) == state
    assert document["answers"]["basin"]["snippet"] == page.page.inner_text("#side code")


def test_rates_follow_the_sliders(watched):
    page = watched(read_state({"view": "rates"}), selector="#rates[data-request]")
    before = page.page.inner_text("#rates")
    page.page.locator("#choice-branch button").last.click()
    page.until(lambda: page.page.inner_text("#rates") != before)
    sliders, _ = page.controls()
    for name in sliders:
        slider = page.page.locator(f"#slider-{name}")
        number = page.page.get_attribute("#rates", "data-request")
        slider.focus()
        slider.press("ArrowLeft" if float(slider.input_value()) > float(slider.get_attribute("min")) else "ArrowRight")
        page.until(lambda number=number: page.page.get_attribute("#rates", "data-request") != number)
        assert f"{name}=" in page.page.url
    page.page.locator(".chip", has_text="BPTT").first.click()
    page.until(lambda: "BPTT" in page.page.locator("#rates tr").nth(1).inner_text())


def test_an_absurd_link_is_answered_in_a_sentence(watched):
    page = watched()
    page.page.goto(page.base + "#feedback=1e99&poles=direct")
    page.page.reload()
    page.wait(".refusal:not([hidden])")
    assert "should be less than or equal to 3" in page.page.inner_text(".refusal")
    page.page.locator(".chip", has_text="BPTT").first.click()
    page.page.locator("#slider-feedback").evaluate("s => { s.value = 1; s.dispatchEvent(new Event('change')); }")
    page.wait(".refusal", state="hidden")


def test_when_the_server_goes_away_the_page_says_so_and_comes_back(browser):
    first = serve(State(), port=0)
    page = Watched(browser, first)
    first.close()
    page.wait("#away:not([hidden])")
    assert "Start it again with “localgrad explore”" in page.page.inner_text("#away")
    before = page.request()
    second = serve(State(), port=first.port)
    page.wait("#away", state="hidden")
    page.page.locator("#slider-decay").evaluate("s => { s.value = 0.2; s.dispatchEvent(new Event('change')); }")
    page.until_newer(before)
    page.close()
    second.close()
