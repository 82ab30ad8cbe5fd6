"""The page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    opened.complaints = []
    opened.on("console", lambda message: message.type == "error" and opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    opened.close()


def test_a_picture_shows_classes_bars_and_the_map_over_it(
    server: Running, saved_model: Path, jpegs: list[bytes], tmp_path: Path, page: Any
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(jpegs[1])
    page.goto(server.url)
    page.set_input_files("#file", str(file))
    page.wait_for_selector("#answer:not([hidden]) .class")
    prediction = load(saved_model).predict(jpegs[1])
    rows = page.locator(".class")
    assert rows.count() == 5
    for i, (label, probability) in enumerate(prediction.top):
        texts = rows.nth(i).locator("span").all_inner_texts()
        assert texts == [label.partition(".")[2], f"{100 * probability:.1f} %"]
    room = rows.nth(0).locator(".bar").evaluate("b => b.getBoundingClientRect().width / b.parentNode.clientWidth")
    assert room == pytest.approx(prediction.probability, abs=0.01)
    expect(page.locator("#map")).to_be_visible()
    expect(page.locator("#picture")).to_be_visible()
    picture, map_ = page.locator("#picture").bounding_box(), page.locator("#map").bounding_box()
    assert map_["height"] == pytest.approx(map_["width"], rel=0.03)
    assert picture["x"] - 1 <= map_["x"]
    assert map_["x"] + map_["width"] <= picture["x"] + picture["width"] + 1
    assert picture["y"] - 1 <= map_["y"]
    assert map_["y"] + map_["height"] <= picture["y"] + picture["height"] + 1
    assert "ms in all" in page.inner_text("#time")
    assert "breeds" in page.inner_text("#models")
    expect(page.locator("#recent")).to_contain_text("POST /invocations")
    page.uncheck("#show")
    assert page.locator("#map").evaluate("c => getComputedStyle(c).visibility") == "hidden"
    assert page.complaints == []


def test_a_picture_that_is_partly_broken_is_shown_with_a_warning(
    server: Running, jpegs: list[bytes], tmp_path: Path, page: Any
) -> None:
    file, whole = tmp_path / "half.jpg", tmp_path / "whole.jpg"
    middle = len(jpegs[1]) // 2
    file.write_bytes(jpegs[1][:middle] + b"\xff\xd4" + bytes(38) + jpegs[1][middle + 40 :])
    whole.write_bytes(jpegs[1])
    page.goto(server.url)
    page.set_input_files("#file", str(file))
    page.wait_for_selector("#answer:not([hidden]) .class")
    expect(page.locator("#warning")).to_contain_text("Part of the picture's data is broken")
    page.set_input_files("#file", str(whole))
    expect(page.locator("#warning")).to_be_hidden()
    assert page.complaints == []


def test_dropping_something_else_shows_the_servers_words(server: Running, tmp_path: Path, page: Any) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("just words")
    page.goto(server.url)
    page.evaluate(
        """text => {
          const data = new DataTransfer();
          data.items.add(new File([text], "notes.txt", {type: "text/plain"}));
          document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        }""",
        "just words",
    )
    page.wait_for_selector("#error:not([hidden])")
    assert "The file is not a picture; it looks like text." in page.inner_text("#error")
    assert page.locator("#answer").is_hidden()


def test_links_are_named_off_and_names_are_text(
    page: Any, serving: Any, write_model: Any, backbone: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    """A class whose name is markup must not become markup."""
    classes = ("<img src=x onerror=alert(1)>", "<b>b</b>", "c")
    server = serving(str(write_model(tmp_path / "marked", backbone, classes=classes)))
    page.on("dialog", lambda dialog: page.complaints.append(f"dialog {dialog.message}"))
    page.goto(server.url)
    expect(page.locator("#link")).to_be_disabled()
    assert "--allow-urls" in page.get_attribute("#link", "placeholder")
    (tmp_path / "photo.jpg").write_bytes(jpegs[2])
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#answer:not([hidden]) .class")
    names = page.locator(".class span:first-child").all_inner_texts()
    assert set(names) == set(classes)
    assert page.complaints == []


def test_bars_have_the_room_that_there_is(
    page: Any, serving: Any, write_model: Any, backbone: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    """Half of the page beside a picture, all of it below one, however long a name: it is cut, and told on hover."""
    long = "Nova_scotia_duck_tolling_retriever_" * 3
    server = serving(str(write_model(tmp_path / "named", backbone, classes=(f"001.{long}", "002.Pug", "003.Cat"))))
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    page.goto(server.url)
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#answer:not([hidden]) .class")
    for width, share in ((1000, 0.45), (700, 0.45), (360, 0.8)):
        page.set_viewport_size({"width": width, "height": 800})
        for room in page.locator(".class .bar").evaluate_all("all => all.map(bar => bar.parentNode.clientWidth)"):
            assert room > share * width
        name = page.locator(".class span:first-child", has_text=long)
        assert name.evaluate("n => [n.title, n.scrollWidth > n.clientWidth, n.clientHeight < 30]") == [long, True, True]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_fits_a_telephone(server: Running, page: Any) -> None:
    """And no time, number or heading breaks inside."""
    page.set_viewport_size({"width": 360, "height": 640})
    server.client.get("/models/none")
    page.goto(server.url)
    page.wait_for_selector("#models td")
    page.wait_for_selector("#recent td")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    figures = page.locator("#models td:nth-child(3), #recent td:is(:nth-child(1), :nth-child(3), :nth-child(4)), th")
    assert figures.count() >= 6 + 3 + 4
    for height in figures.evaluate_all(
        "all => all.map(c => { const r = document.createRange(); "
        "r.selectNodeContents(c); return r.getBoundingClientRect().height; })"
    ):
        assert height < 30, "one line"
    rows = page.locator("#recent tbody tr")
    assert rows.first.evaluate("r => r.getBoundingClientRect().height") < 80, "a name is no column of letters"


@pytest.mark.parametrize("width", [360, 700, 1000])
def test_the_calls_fit_any_screen(server: Running, page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    page.goto(f"{server.url}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for path in ("/ping", "/endpoints/{endpoint}/invocations"):
        assert page.locator("code", has_text=path).first.evaluate("c => c.getClientRects().length") == 1


def test_a_picture_that_the_browser_cannot_show(server: Running, jpegs: list[bytes], tmp_path: Path, page: Any) -> None:
    """Not the map of the picture before over a broken image."""
    from PIL import Image

    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    Image.open(tmp_path / "photo.jpg").save(tmp_path / "photo.tiff")
    page.goto(server.url)
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#map:not([hidden])")
    with page.expect_response("**/invocations"):
        page.set_input_files("#file", str(tmp_path / "photo.tiff"))
    page.wait_for_selector("#unseen:not([hidden])")
    assert page.inner_text("#unseen") == "This browser cannot show pictures of this format; the model has read it."
    assert page.locator("#map").is_hidden()
    assert page.locator("#picture").is_hidden()
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#map:not([hidden])")
    assert page.locator("#unseen").is_hidden()


def test_a_request_that_is_running_is_shown(page: Any, serving: Any, tmp_path: Path, jpegs: list[bytes]) -> None:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        "import os, time\ndef model_fn(d): return d + '/go'\ndef transform_fn(m, b, c, a):\n"
        "    while not os.path.exists(m): time.sleep(0.01)\n    return '1', a\n"
    )
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    server = serving(str(tmp_path / "own"), "--allow-code")
    page.goto(server.url)
    assert page.locator("#asking").is_hidden()
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#asking:not([hidden])")
    assert page.inner_text("#asking") == "asking ..."
    (tmp_path / "own" / "go").touch()
    page.wait_for_selector("#raw:not([hidden])")
    assert page.locator("#asking").is_hidden()


def test_a_key_that_is_typed_asks_again(
    page: Any, serving: Any, saved_model: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    """Without a key: the server's words, no polling. With it: the answer, without choosing the picture again."""
    server = serving(str(saved_model), VIZSLA_API_KEYS="k1")
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    page.goto(server.url)
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#error:not([hidden])")
    assert "An API key is needed." in page.inner_text("#error")
    page.wait_for_timeout(6000)
    assert len([line for line in server.log() if line.get("path") == "/status"]) <= 2
    page.fill("#key", "k1")
    page.press("#key", "Tab")
    page.wait_for_selector("#answer:not([hidden]) .class")
    expect(page.locator("#models")).to_contain_text("breeds")


def test_the_same_file_can_be_chosen_again(server: Running, tmp_path: Path, jpegs: list[bytes], page: Any) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(jpegs[1])
    page.goto(server.url)
    for _ in range(2):
        with page.expect_response("**/invocations"):
            page.set_input_files("#file", str(file))
        assert page.evaluate("document.querySelector('#file').value") == ""


def test_the_answer_of_own_code_is_shown(page: Any, serving: Any, tmp_path: Path, jpegs: list[bytes]) -> None:
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text("def model_fn(d): return 0\ndef transform_fn(m, b, c, a): return '{\"bytes\": %d}' % len(b), a\n")
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    server = serving(str(tmp_path / "own"), "--allow-code")
    page.goto(server.url)
    expect(page.locator("#look")).to_be_disabled()
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#raw:not([hidden])")
    assert f'"bytes": {len(jpegs[1])}' in page.inner_text("#raw")


UNKNOWN = [
    '{"predictions": [[0.1, 0.9]]}',
    '{"predictions": []}',
    '{"predictions": {"rose": 1}}',
    '{"predictions": [{"class_name": "rose", "probability": null}]}',
    "null",
    "12345678901234567890",
    "no JSON",
]


def test_an_answer_of_an_unknown_form_is_shown_as_it_is(
    page: Any, serving: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    code, answer = tmp_path / "own" / "code" / "inference.py", tmp_path / "own" / "answer"
    code.parent.mkdir(parents=True)
    code.write_text(
        "def model_fn(d): return d + '/answer'\ndef transform_fn(m, b, c, a): return open(m).read(), 'text/plain'\n"
    )
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    server = serving(str(tmp_path / "own"), "--allow-code")
    page.goto(server.url)
    for text in UNKNOWN:
        answer.write_text(text)
        page.set_input_files("#file", str(tmp_path / "photo.jpg"))
        expect(page.locator("#raw")).to_have_text(text)
        expect(page.locator("#answer")).to_be_visible()
        assert page.locator(".class").count() == 0
    assert page.complaints == []


def test_a_model_that_no_header_can_name(
    page: Any, serving: Any, write_model: Any, backbone: Any, tmp_path: Path, jpegs: list[bytes]
) -> None:
    """Words, and not the browser's; the server's own model needs no name."""
    (tmp_path / "photo.jpg").write_bytes(jpegs[1])
    server = serving(str(write_model(tmp_path / "naïve ☃", backbone)))
    page.goto(server.url)
    page.fill("#model", "dogs ☃")
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").splitlines() == [
        'No header can hold the model\'s name "dogs ☃".',
        "Allowed: letters, digits and signs of ASCII, without blanks",
        "rename the model's folder",
    ]
    page.reload()
    expect(page.locator("#model")).to_have_value("naïve ☃")
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    page.wait_for_selector("#answer:not([hidden]) .class")
