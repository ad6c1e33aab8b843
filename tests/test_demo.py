"""The page of predictions: what it answers, who reaches it, and what becomes of uploads.

The page itself is used in Chromium, if Gradio, Playwright and Chromium are there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import soundfile

from benchmarks import clips
from pipeline import InputError, demo
from pipeline.predict.clips import Clip
from pipeline.system.filesystem import lock
from tests.test_predict import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--no-sandbox",  # refused to the superuser
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 60_000  # milliseconds that a busy machine may need


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("demo"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- without a browser ----------------------------------------------------------------------------


def test_a_clip_is_answered_with_its_prediction(world: World) -> None:
    predictor = world.predictor()
    clip = Clip(world.media / "0.mp4", "ang exc", 0.1, 0.9)
    html = demo.answer(predictor, None, clip)
    expected = predictor(clip.path, clip.text, start=0.1, end=0.9)
    assert f"0.mp4: {expected.emotion}" in html and "“ang exc”" in html
    for probability in expected.probabilities.values():
        assert f"{probability:.3f}" in html
    assert html.count("data:image/png") == 1


def test_words_are_recognised_only_if_there_are_none(world: World) -> None:
    class Fixed:
        model = "fixed"

        def __call__(self, utterance: Any, root: Path) -> str:
            return "so it is"

    html = demo.answer(world.predictor(), Fixed(), Clip(world.media / "0.mp4"))
    assert "“so it is” (recognised by fixed)" in html
    html = demo.answer(world.predictor(), Fixed(), Clip(world.media / "0.mp4", "ang"))
    assert "“ang”" in html and "recognised" not in html


def test_text_of_a_user_is_no_markup(world: World) -> None:
    html = demo.answer(world.predictor(), None, Clip(world.media / "0.mp4", "<script>x</script>"))
    assert "<script>" not in html


def test_an_error_tells_nothing_of_the_folders(world: World, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("no clip")
    for clip in (Clip(path), Clip(world.media / "0.mp4", start=5.0)):
        with pytest.raises(InputError) as caught:
            demo.answer(world.predictor(), None, clip)
        assert str(caught.value).startswith(f"{clip.path.name}: ")
        assert str(clip.path.parent) not in str(caught.value)


def test_uploads_are_deleted_at_the_end_and_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with demo.uploads() as first:
        (first / "clip.mp4").touch()
        assert os.environ["GRADIO_TEMP_DIR"] == str(first)
        assert first.stat().st_mode & 0o077 == 0
        left = shutil.copytree(first, first.with_name(first.name + "-left"))  # its lock is free
        with demo.uploads() as second:
            assert first.exists() and second != first and not left.exists()
        assert not second.exists() and (first / "clip.mp4").exists()
        with (first / "lock").open("a") as file, pytest.raises(BlockingIOError):
            lock(file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert demo.is_loopback(host) is loopback


def test_a_missing_gradio_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert demo.main([]) == 1
    assert "make demo" in capsys.readouterr().err


def test_the_command_serves_until_it_is_ended(world: World, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra demo")
    shutil.copytree(world.bert, tmp_path / "data/weights" / Path(world.bert).name)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    options = ("--models", str(world.models), "--port", str(free_port()))
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.demo", *options],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        address = process.stdout.readline().split()[1]
        assert requests.get(address).status_code == 200
        assert len(list(tmp_path.glob("modality-hopping-demo-*"))) == 1
        process.terminate()
    assert not list(tmp_path.glob("modality-hopping-demo-*"))


# --- in a browser ---------------------------------------------------------------------------------


@dataclass
class Opened:
    """A page in a browser, and the addresses that it asked for."""

    page: Any
    address: str
    uploads: Path
    classes: list[str]
    lost: type[Exception]
    asked: list[str] = field(default_factory=list)

    def source(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def load(self) -> None:
        """Load the page, and wait until its script runs."""
        self.page.goto(self.address)
        deadline = time.monotonic() + 60
        while not self.page.get_by_text("There is no clip").count():
            assert time.monotonic() < deadline
            self.predict()
            self.page.wait_for_timeout(500)

    def upload(self, path: Path) -> None:
        for _ in range(5):  # a page that loads slowly may lose the file
            self.load()
            self.page.locator("input[type=file]").first.set_input_files(path)
            with suppress(self.lost):
                self.page.get_by_text(path.name).first.wait_for(timeout=20_000)
                return
        raise AssertionError(f"{path.name} is not shown")

    def predict(self) -> None:
        self.page.get_by_role("button", name="Predict").click()


@pytest.fixture(scope="module")
def opened(world: World) -> Iterator[Opened]:
    pytest.importorskip("gradio", reason="needs the extra demo")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with (
        pytest.MonkeyPatch.context() as patch,
        demo.uploads() as folder,
        playwright.sync_playwright() as driver,
    ):
        patch.setattr(demo, "LARGEST", 1)
        patch.setattr(demo, "KEPT", (1, 30))
        patch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")  # does not matter
        predictor = world.predictor()
        made = demo.page(predictor, None, world.models)
        address = demo.serve(made, "127.0.0.1", free_port())
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_context(permissions=["microphone", "camera"]).new_page()
        page.set_default_timeout(SECONDS)
        found = Opened(page, address, folder, predictor.classes, playwright.TimeoutError)
        page.on("request", lambda request: found.asked.append(request.url))
        yield found
        browser.close()
        made.close()


def shown(opened: Opened, text: str) -> None:
    """Wait until the page shows a text."""
    opened.page.get_by_text(text).first.wait_for(timeout=SECONDS)


def test_the_page_predicts_an_upload(opened: Opened, world: World) -> None:
    opened.upload(world.media / "0.mp4")
    opened.page.get_by_label("Words").fill("ang exc")
    opened.predict()
    expected = world.predictor()(world.media / "0.mp4", "ang exc")
    shown(opened, f"0.mp4: {expected.emotion}")
    text = opened.page.locator(".clip").inner_text()
    for name, probability in expected.probabilities.items():
        assert f"{name}\t{probability:.3f}" in text
    picture = opened.page.locator(".clip img")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 300")
    assert picture.get_attribute("alt")


def test_a_part_of_a_recording_and_a_place_are_chosen(opened: Opened, world: World) -> None:
    opened.upload(world.media / "1.mp4")
    opened.page.get_by_role("button", name="Part of the recording").click()
    opened.page.get_by_label("From (seconds)").fill("0.25")
    opened.page.get_by_label("To (seconds)").fill("0.75")
    opened.page.get_by_label("left").check()
    opened.predict()
    shown(opened, "0.25 s to 0.75 s")
    opened.page.get_by_label("From (seconds)").fill("")
    opened.page.get_by_label("To (seconds)").fill("")


@pytest.mark.parametrize(
    ("tab", "name"), [("Record sound", "audio.wav"), ("Record video", "sample.webm")]
)
def test_a_recording_is_predicted(opened: Opened, tab: str, name: str) -> None:
    for seconds in (2, 8, 32):  # the browser of a busy machine records nothing at first
        opened.load()
        opened.source(tab)
        if tab == "Record video":
            opened.page.get_by_text("Click to Access Webcam").click()
        opened.page.get_by_text("Record", exact=True).locator("visible=true").click()
        opened.page.wait_for_timeout(1000 * seconds)
        opened.page.get_by_text("Stop", exact=True).locator("visible=true").click()
        opened.page.wait_for_timeout(2000)
        opened.predict()
        shown(opened, f"{name}: ")  # the prediction, or the reason why there is none
        rows = opened.page.locator(".clip tr").count()
        if rows:
            break
    assert rows == len(opened.classes), opened.page.locator("body").inner_text()


def test_bad_input_is_a_sentence(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("no clip")
    opened.upload(tmp_path / "words.mp4")
    opened.predict()
    shown(opened, "words.mp4: cannot be opened as audio or video")


def test_a_large_file_is_refused(opened: Opened, tmp_path: Path) -> None:
    """By the page, and by the server, which keeps nothing of it."""
    path = tmp_path / "large.wav"
    soundfile.write(path, clips.tone(60.0), 16000)
    opened.upload(path)
    shown(opened, "exceed the maximum allowed size of 1.0 Mb")
    before = set(opened.uploads.rglob("*"))
    with path.open("rb") as file:
        sent = requests.post(f"{opened.address}gradio_api/upload", files={"files": file})
    assert sent.status_code == 413 and "exceeded" in sent.text
    assert set(opened.uploads.rglob("*")) <= before


def test_it_listens_on_loopback_only_and_asks_nobody_else(opened: Opened) -> None:
    listening = {
        found.laddr.ip
        for found in psutil.Process().net_connections()
        if found.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    others = [url for url in opened.asked if not url.startswith((opened.address, "data:", "blob:"))]
    assert opened.asked and not others


def test_uploads_of_a_certain_age_are_deleted(opened: Opened) -> None:
    """All, those included that were refused; runs last."""
    deadline = time.monotonic() + 60
    while left := [path for path in opened.uploads.rglob("*") if path.suffix]:
        assert time.monotonic() < deadline, left
        time.sleep(1)
    assert not [
        path for path in opened.uploads.rglob("*") if path.is_file() and path.stat().st_size
    ]


def test_a_port_in_use_is_a_sentence(opened: Opened, world: World) -> None:
    port = int(opened.address.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(InputError, match=f"--port {port}"):
        demo.serve(demo.page(world.predictor(), None, world.models), "127.0.0.1", port)
