"""The page of `cnncli serve` shows the classes of the image that it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

BROWSER = """
const pause = ms => new Promise(done => setTimeout(done, ms));
const run = {name: "run", classes: ["a"], width: 8, height: 8, fit: "stretch", max_bytes: 1e6};
const answers = {fast: 20, slow: 300, camera: 200};
const maps = {"#late": {has_maps: true}, "#broken": {error: "no maps"}}[location.hash] ?? {has_maps: false};
const file = (label, side) => Object.assign(new Blob(), {label, side});
window.fetch = async (path, {body}) => {
  const label = body ? body.label ?? "camera" : null;
  if (label) await pause(answers[label]);
  const added = path.includes("maps=true") ? {maps: {[label]: [[0, 1]]}} : {};
  let document = label ? [{path: label, predictions: [{label, probability: 1}], ...added}] : run;
  if (path === "run/maps") {
    await pause(400);
    document = maps;
  }
  return {ok: !document.error, status: document.error ? 503 : 200, json: async () => document};
};
window.createImageBitmap = async ({side}) => new OffscreenCanvas(side, side);
OffscreenCanvas.prototype.convertToBlob = async () => new Blob();
HTMLMediaElement.prototype.play = async () => {};
for (const side of ["videoWidth", "videoHeight"]) Object.defineProperty(HTMLVideoElement.prototype, side, {value: 8});
const getUserMedia = async () => { await pause(100); return new MediaStream(); };
Object.defineProperty(navigator, "mediaDevices", {value: {getUserMedia}});
const show = () => {
  draw();
  const shown = `${document.querySelector("#bars span")?.textContent} ${document.getElementById("canvas").width}`;
  document.body.dataset.found = shown;
  const button = document.querySelector("#bars button");
  const label = document.getElementById("canvas").ariaLabel;
  document.body.dataset.maps = `${button?.disabled} ${button?.ariaPressed} ${label}`;
  document.body.dataset.message = document.getElementById("message").textContent;
};
Object.assign(window, {pause, file, show});
"""
"""A server that answers after the milliseconds of a label, and a camera; nothing takes real time."""
ACTIONS = {
    "slow upload": ("load(file('slow', 10)); await pause(10); load(file('fast', 20));", "fast 20"),
    "frame in flight": ("startLive(); await pause(150); load(file('fast', 20));", "fast 20"),
    "late permission": ("startLive(); await pause(10); load(file('fast', 20));", "fast 20"),
    "camera after an upload": ("load(file('slow', 10)); await pause(10); startLive();", "camera 8"),
}
"""Actions of a person, and the class and the width of the image that the page shows in the end."""


MAP = "false true The image, with the places that raise the score of fast"
NO_MAP = "true false The image"
browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")


def shown_after(actions: str, tmp_path: Path, maps: str = "") -> dict[str, str]:
    """Return what the page shows in the end: the class and the width of the image, its map, and the message."""
    page = files("cnncli.serving").joinpath("prediction_page.html").read_text(encoding="utf-8")
    page = page.replace('<script nonce="{{nonce}}">', f"<script>{{{BROWSER}}}</script><script>")
    story = f"<script>(async () => {{ await pause(50); {actions} await pause(900); show(); }})();</script>"
    copy = tmp_path / "page.html"
    copy.write_text(page.replace("</body>", f"{story}</body>"), encoding="utf-8")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--virtual-time-budget=5000", "--dump-dom", copy.as_uri() + maps]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    return dict(re.findall(r' data-(found|maps|message)="([^"]*)"', document))


@pytest.mark.slow
@browser
@pytest.mark.parametrize("name", ACTIONS)
def test_the_classes_belong_to_the_image(tmp_path: Path, name: str) -> None:
    """An answer that arrives after a newer image was chosen does not replace the classes of the newer image."""
    actions, shown = ACTIONS[name]

    assert shown_after(actions, tmp_path)["found"] == shown


@pytest.mark.slow
@browser
@pytest.mark.parametrize(("maps", "shown"), [("#late", MAP), ("#broken", NO_MAP), ("", NO_MAP)])
def test_an_image_gets_its_map_when_maps_are_ready(tmp_path: Path, maps: str, shown: str) -> None:
    """An image that was classified before the maps were loaded gets one; without maps, no class can be chosen."""
    found = shown_after("load(file('fast', 20));", tmp_path, maps)

    assert found == {"found": "fast 20", "maps": shown, "message": ""}
