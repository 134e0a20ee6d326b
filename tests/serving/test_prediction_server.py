"""`cnncli serve` answers like `cnncli predict`, and refuses everything else with a reason."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from cnncli.catalogue.explanations import load_explanations
from cnncli.cli import main
from cnncli.errors import ImageError, Message
from cnncli.images.decode import decode
from cnncli.inference.prediction import Prediction
from cnncli.inference.predictor import load_predictor
from cnncli.recipes.predict import predict
from cnncli.recipes.serve import add_single
from cnncli.recipes.train import Run, train
from cnncli.runs.folder import RunFolder
from cnncli.serving.api import PredictionApi
from cnncli.serving.batching import BatchingPredictor, QueueFullError
from cnncli.serving.guard import OPEN_PATHS
from cnncli.serving.inference_protocol import HEADER_LENGTH
from cnncli.serving.local import NAMES
from cnncli.serving.refusals import STATUS_OF_IMAGE, Limits, status_of
from cnncli.serving.server_metrics import ServerMetrics
from cnncli.terminal.console import Console
from scripts.hostile_requests import KINDS, attack
from tests.support.drawing import draw_dataset, tiny_config
from tests.support.serving import Answer, Served, ask, form, served

TOKEN = "a token of the test"
TOLERANCE = 1e-6
"""A batch and a single image are computed by graphs of different sizes, whose results are rounded differently."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw images of stripes and dots."""
    return draw_dataset(tmp_path_factory.mktemp("data"), 12, 12, 10)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Solve a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(tiny_config(data, training={}), tmp_path_factory.mktemp("runs"), Console(quiet=True))


@pytest.fixture(scope="module")
def images(data: Path) -> list[Path]:
    """Return the test images."""
    return sorted((data / "test").rglob("*.png"))


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log of what the server imports."""
    return tmp_path_factory.mktemp("log") / "imports.txt"


@pytest.fixture(scope="module")
def server(run: Run, imports: Path) -> Iterator[Served]:
    """Serve the run."""
    with served(run.path, "--timeout", "10", log=imports) as found:
        yield found


@pytest.fixture(scope="module")
def batching(run: Run) -> Iterator[BatchingPredictor]:
    """Return the classifier of the run for servers without a network."""
    predictor = load_predictor(run.folder.engine, run.folder.model)
    found = BatchingPredictor(predictor, predictor.spec.pixels, capacity=64)
    yield found
    found.close()


def application(
    batching: BatchingPredictor,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = NAMES,
) -> Any:
    """Return the application of the run."""
    api = PredictionApi("run", batching, lambda: None, limits or Limits(), ServerMetrics())
    return api.application(token, hosts)


def expected(run: Run, images: list[Path]) -> list[dict[str, Any]]:
    """Return the entries of `cnncli predict --json`, with the names of files for paths."""
    found = [one for one in predict(run.folder, [str(path) for path in images]) if isinstance(one, Prediction)]
    return [{**one.to_dict(), "path": Path(one.path).name} for one in found]


def assert_equal(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Compare predictions, whose probabilities may differ by rounding."""
    assert [one.keys() for one in found] == [one.keys() for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert (one["path"], one["unknown"]) == (other["path"], other["unknown"])
        assert [pair["label"] for pair in one["predictions"]] == [pair["label"] for pair in other["predictions"]]
        probabilities = [[pair["probability"] for pair in each["predictions"]] for each in (one, other)]
        assert probabilities[0] == pytest.approx(probabilities[1], abs=TOLERANCE)


def test_a_form_of_images_is_answered_as_predict_answers(server: Served, run: Run, images: list[Path]) -> None:
    """POST /predict with a form has the shape and the numbers of `cnncli predict --json`."""
    answer = server.send("POST", "/predict", *form(images))

    assert answer.status == 200
    assert_equal(answer.document, expected(run, images))


def test_single_requests_at_a_time_are_answered_together(server: Served, run: Run, images: list[Path]) -> None:
    """Requests with one image each, 16 at a time, get the same answers, from fewer batches than images."""
    before = _metric(server, "cnncli_batch_images", "_count")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda path: server.send("POST", "/predict", path.read_bytes()), 4 * images))

    found = [{**answer.document[0], "path": path.name} for answer, path in zip(answers, 4 * images, strict=True)]
    assert_equal(found, expected(run, 4 * images))
    assert _metric(server, "cnncli_batch_images", "_count") - before < len(4 * images)


def test_a_batch_is_computed_bit_for_bit_as_by_predict(
    batching: BatchingPredictor, run: Run, images: list[Path]
) -> None:
    """The probabilities of images that are classified together are those of `cnncli predict` to the last bit."""
    answers = [future.result() for future in batching.submit([(path.name, path) for path in images])]
    wanted = [{pair["label"]: pair["probability"] for pair in one["predictions"]} for one in expected(run, images)]

    found = [dict(zip(batching.predictor.spec.classes, one.probabilities.tolist(), strict=True)) for one in answers]
    assert found == wanted


def test_serving_imports_neither_tensorflow_nor_keras(server: Served, imports: Path, images: list[Path]) -> None:
    """The engine answers without TensorFlow and Keras."""
    assert server.send("POST", "/predict", images[0].read_bytes()).status == 200
    modules = {line.rpartition("|")[2].strip() for line in imports.read_text().splitlines() if "|" in line}

    assert {"openvino", "fastapi"} <= modules
    assert not modules & {"tensorflow", "keras", "sklearn", "matplotlib"}


def test_top_limits_the_classes(server: Served, images: list[Path]) -> None:
    """?top=1 leaves the most probable class, and a value below 1 is refused."""
    body = images[0].read_bytes()

    assert len(server.send("POST", "/predict?top=1", body).document[0]["predictions"]) == 1
    refused = server.send("POST", "/predict?tpo=1", body)
    assert refused.status in range(400, 500)
    assert "top" in refused.document["error"]
    refused = server.send("POST", "/predict?top=0", body)
    assert (refused.status, refused.document["code"]) == (400, "serve-request-invalid")


def test_maps_are_those_of_the_score(server: Served, images: list[Path]) -> None:
    """?maps=true adds a map for each class, and both sum to the same at each place for two classes of a softmax."""
    (found,) = server.send("POST", "/predict?maps=true", images[0].read_bytes()).document

    assert server.send("GET", "/run/maps").document["has_maps"]
    assert set(found["maps"]) == {"dots", "stripes"}
    assert np.array(found["maps"]["dots"]).ndim == 2


def _metric(server: Served, name: str, suffix: str = "_total", **labels: str) -> float:
    """Return the sum of a metric over all labels but the given ones."""
    families = text_string_to_metric_families(server.send("GET", "/metrics").content.decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name + suffix and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "image-empty"),
        (b"a text", 415, "image-unknown-format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "image-unknown-format"),
        (b"\xff\xd8\xff\xe0" + bytes(100), 422, "image-damaged"),
    ],
)
def test_an_unusable_image_is_refused_with_its_code(server: Served, body: bytes, status: int, code: str) -> None:
    """A body that is not an image gets a status of its own kind, the code of the reason, and is counted."""
    before = _metric(server, "cnncli_rejected", reason=code)
    answer = server.send("POST", "/predict", body)

    assert (answer.status, answer.document["code"]) == (status, code)
    assert _metric(server, "cnncli_rejected", reason=code) == before + 1


def test_each_status_belongs_to_a_known_code() -> None:
    """The codes of images that have a status of their own are codes of messages."""
    assert set(STATUS_OF_IMAGE) <= set(load_explanations())


@pytest.mark.parametrize("code", ["image-reader-not-installed", "image-compression", "image-without-pixels"])
def test_a_format_that_cannot_be_read_gets_415(code: str) -> None:
    """HEIC and DICOM without a reader, unknown compression and DICOM without an image are unsupported media."""
    assert status_of([ImageError("", Message(code, ""))]) == 415


def test_the_other_images_of_a_form_are_answered(
    batching: BatchingPredictor, images: list[Path], tmp_path: Path
) -> None:
    """If one image of several cannot be used, the answer names it and has the predictions of the others."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(images[0].read_bytes()[:-30])
    answer = ask(application(batching), "POST", "/predict", *form([images[0], bad]))

    assert answer.status == 422
    assert [(one["path"], one["code"]) for one in answer.document["errors"]] == [("bad.png", "image-truncated")]
    assert [one["path"] for one in answer.document["predictions"]] == [images[0].name]


def test_an_image_of_too_many_pixels_is_refused(run: Run, images: list[Path]) -> None:
    """An image with more pixels than the limit of the server gets 413, which names the option of this limit."""
    with served(run.path, "--max-pixels", "1000") as small:
        answer = small.send("POST", "/predict", images[0].read_bytes())

    assert (answer.status, answer.document["code"]) == (413, "image-too-many-pixels")
    assert "--max-pixels" in answer.document["errors"][0]["message"]
    assert "data.max_pixels" not in answer.document["error"]


def test_an_image_beyond_the_limit_of_the_run_names_its_setting(run: Run, images: list[Path]) -> None:
    """If the limit of the run is the lower one, the answer names the setting of the run."""
    predictor = load_predictor(run.folder.engine, run.folder.model)
    predictor = replace(predictor, spec=replace(predictor.spec, max_pixels=1000))
    small = BatchingPredictor(predictor, predictor.spec.pixels, capacity=8)
    answer = ask(application(small), "POST", "/predict", images[0].read_bytes())
    small.close()

    assert (answer.status, answer.document["code"]) == (413, "image-too-many-pixels")
    assert "data.max_pixels" in answer.document["error"]


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        (Limits(body_bytes=100), 413, "serve-too-large"),
        (Limits(images=1), 413, "serve-too-many-images"),
        (Limits(buffered_bytes=100), 503, "serve-busy"),
    ],
)
def test_a_request_beyond_a_limit_is_refused(
    batching: BatchingPredictor, images: list[Path], limits: Limits, status: int, code: str
) -> None:
    """A request of too many bytes or images, or beyond the server's memory, is refused."""
    answer = ask(application(batching, limits), "POST", "/predict", *form(images[:2]))

    assert (answer.status, answer.document["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_body_that_does_not_arrive_is_refused(batching: BatchingPredictor) -> None:
    """A body that takes longer than the limit gets 408, and the connection is closed."""
    answer = ask(application(batching, Limits(timeout_s=0.05)), "POST", "/predict", b"x", silent=True)

    assert (answer.status, answer.document["code"]) == (408, "serve-slow")
    assert answer.headers["connection"] == "close"


def test_the_timeout_covers_the_classes_and_all_maps(batching: BatchingPredictor, images: list[Path]) -> None:
    """Maps that each take less than the limit, but together take longer, are refused when the limit is reached."""

    class SlowMaps:
        n_images = 0

        def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            """Return maps after a third of a second."""
            self.n_images += 1
            sleep(0.3)
            return np.zeros((len(batching.predictor.spec.classes), 2, 2), np.float32)

    slow = SlowMaps()
    api = PredictionApi("run", batching, lambda: slow, Limits(timeout_s=1.0), ServerMetrics())  # type: ignore[arg-type,return-value]
    answer = ask(api.application(None, NAMES), "POST", "/predict?maps=true", *form(images))

    assert (answer.status, answer.document["code"]) == (503, "serve-timeout")
    assert slow.n_images < len(images)


def test_the_timeout_covers_the_search_for_maps(batching: BatchingPredictor) -> None:
    """/run/maps is refused when the network of the maps takes longer to load than the limit."""
    api = PredictionApi("run", batching, lambda: sleep(0.5), Limits(timeout_s=0.1), ServerMetrics())
    answer = ask(api.application(None, NAMES), "GET", "/run/maps")

    assert (answer.status, answer.document["code"]) == (503, "serve-timeout")


def test_a_request_is_refused_when_the_server_stops(batching: BatchingPredictor) -> None:
    """A request that is cancelled at the end of the server is answered with 503 instead of a traceback."""
    answer = ask(application(batching), "POST", "/predict", b"x", silent=True, cancel_s=0.05)

    assert (answer.status, answer.document["code"]) == (503, "serve-stopping")


def test_a_full_queue_refuses_images(run: Run, images: list[Path]) -> None:
    """More images than fit are refused with 503 and a time to wait, and later ones are answered."""
    predictor = load_predictor(run.folder.engine, run.folder.model)
    small = BatchingPredictor(predictor, predictor.spec.pixels, capacity=2)
    app = application(small)
    full, one = ask(app, "POST", "/predict", *form(images[:3])), ask(app, "POST", "/predict", *form(images[:2]))
    small.close()

    assert (full.status, full.document["code"], full.headers["retry-after"]) == (503, "serve-busy", "1")
    assert one.status == 200
    with pytest.raises(QueueFullError):
        small.submit([(path.name, path) for path in images])


def test_a_wrong_form_is_refused(batching: BatchingPredictor) -> None:
    """A form without boundary, without files, or that is compressed gets 400."""
    app = application(batching)
    kinds = [
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=cut"},
        {"Content-Encoding": "gzip"},
    ]
    answers = [ask(app, "POST", "/predict", b"--cut--\r\n", headers) for headers in kinds]

    assert {(answer.status, answer.document["code"]) for answer in answers} == {(400, "serve-request-invalid")}


@pytest.mark.parametrize("charset", ["punycode", "undefined"])
def test_a_form_in_an_encoding_that_cannot_be_decoded_is_refused(
    batching: BatchingPredictor, images: list[Path], charset: str
) -> None:
    """A form whose names Python cannot decode with the stated encoding gets 400."""
    body, headers = form(images[:1])
    headers["Content-Type"] += f"; charset={charset}"
    answer = ask(application(batching), "POST", "/predict", body, headers)

    assert (answer.status, answer.document["code"]) == (400, "serve-request-invalid")


@pytest.mark.parametrize("failure", [RuntimeError("/home/me/secret"), ValueError("\ud800")])
def test_a_fault_of_the_server_is_answered_in_json(
    batching: BatchingPredictor, images: list[Path], failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody expects gets 500 with a code, and neither its text nor a traceback leaves the server."""

    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(batching, "submit", fail)
    answer = ask(application(batching), "POST", "/predict", images[0].read_bytes())

    assert (answer.status, answer.document["code"]) == (500, "serve-failed")
    assert str(failure).encode("utf-8", "replace") not in answer.content
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "rebound.example"}, 403, "serve-host"),
        ({"Host": "127.0.0.1.rebound.example:80"}, 403, "serve-host"),
        ({"Origin": "https://elsewhere.example"}, 403, "serve-origin"),
        ({"Origin": "null"}, 403, "serve-origin"),
        ({"Host": "localhost:99", "Origin": "http://localhost:99"}, 200, None),
        ({"Host": "[::1]:99"}, 200, None),
    ],
)
def test_other_names_and_pages_are_refused(
    batching: BatchingPredictor, headers: dict[str, str], status: int, code: str | None
) -> None:
    """A request through another name of this machine (DNS rebinding), or from a page of another site, is refused."""
    answer = ask(application(batching), "GET", "/run", headers=headers)

    assert (answer.status, answer.document.get("code")) == (status, code)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no second loopback address")
def test_another_loopback_address_names_this_machine(run: Run) -> None:
    """A server at a chosen loopback address answers requests that name this address, and refuses other names."""
    with served(run.path, "--host", "127.0.0.2") as found:
        assert found.host == "127.0.0.2"
        assert found.send("GET", "/run").status == 200
        refused = found.send("GET", "/run", headers={"Host": "rebound.example"})

    assert (refused.status, refused.document["code"]) == (403, "serve-host")
    assert "127.0.0.2" in refused.document["error"]


def test_the_facts_of_the_run_do_not_wait_for_its_maps(batching: BatchingPredictor) -> None:
    """/run has the name and the classes without the network of the maps, which takes seconds to load."""
    searches: list[None] = []
    api = PredictionApi("pets", batching, lambda: searches.append(None), Limits(), ServerMetrics())
    facts = ask(api.application(None, NAMES), "GET", "/run").document

    assert (facts["name"], set(facts["classes"]), searches) == ("pets", {"dots", "stripes"}, [])


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN} "])
def test_without_the_token_nothing_is_answered(batching: BatchingPredictor, given: str | None) -> None:
    """With a token, a request without it gets 401, but the page and the checks of health are open."""
    app = application(batching, token=TOKEN, hosts=None)
    headers = {} if given is None else {"Authorization": given}
    paths = ("/run", "/run/maps", "/metrics", "/openapi.json", "/v2")
    answers = {path: ask(app, "GET", path, headers=headers) for path in paths}

    assert {(answer.status, answer.document["code"]) for answer in answers.values()} == {(401, "serve-token")}
    assert {ask(app, "GET", path).status for path in ("/", "/health", "/v2/health/ready")} == {200}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_requests_are_answered(batching: BatchingPredictor, scheme: str) -> None:
    """With the token, a request is answered under any name of the machine; case does not matter in the scheme."""
    app = application(batching, token=TOKEN, hosts=None)
    headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "other.example"}

    assert ask(app, "GET", "/run", headers=headers).status == 200


def test_open_addresses_answer_head(server: Served) -> None:
    """Programs that check the health of a server may send HEAD, which is answered without a body."""
    answers = [server.send("HEAD", path) for path in OPEN_PATHS]

    assert {(answer.status, answer.content) for answer in answers} == {(200, b"")}
    assert _metric(server, "cnncli_requests", path="/health", method="HEAD") == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--host", "0.0.0.0"], "serve-token-missing"),
        (["--host", "::"], "serve-token-missing"),
        (["--host", "0.0.0.0", "--token", "short"], "serve-token-short"),
        (["--host", "no.such.name.invalid"], "serve-host-unknown"),
    ],
)
def test_other_addresses_need_a_token(
    run: Run, options: list[str], code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that other machines reach is refused without a token that cannot be guessed."""
    monkeypatch.delenv("CNNCLI_TOKEN", raising=False)

    assert main(["serve", str(run.path), *options]) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_a_port_that_is_in_use_is_refused(server: Served, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A port of another server is reported with its code."""
    assert main(["serve", str(run.path), "--port", str(server.port)]) == 2
    assert "[run-port-in-use]" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_server(run: Run, number: signal.Signals, code: int) -> None:
    """Ctrl-C is the usual end, SIGTERM has the exit code of other commands, and both leave no traceback."""
    with served(run.path) as one:
        assert one.send("GET", "/health").status == 200
        one.process.send_signal(number)

        assert one.process.wait(20) == code


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_no_traceback(run: Run, second: signal.Signals, tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice gets no error of libraries that are being ended."""
    with served(run.path, log=tmp_path / "errors.txt") as one:
        assert one.send("GET", "/health").status == 200
        for number in (signal.SIGINT, second):
            one.process.send_signal(number)
            time.sleep(0.05)
        one.process.wait(20)

    assert "Traceback" not in (tmp_path / "errors.txt").read_text()


def test_the_page_loads_nothing_from_elsewhere(server: Served) -> None:
    """The page is one file without addresses of other sites, and its policy allows none."""
    answer = server.send("GET", "/")
    policy = answer.headers["content-security-policy"]

    assert answer.status == 200
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|https?://|@import""", answer.content.decode())
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'nonce-([^']+)'", policy)[1] in answer.content.decode()  # type: ignore[index]


def test_the_interface_is_described(server: Served) -> None:
    """The description of the interface lists all addresses with their problems."""
    paths = server.send("GET", "/openapi.json").document["paths"]

    assert {"/predict", "/run", "/run/maps", "/health", "/metrics", "/v2/models/{name}/infer"} <= set(paths)
    assert {"200", "413", "415", "422", "503"} <= set(paths["/predict"]["post"]["responses"])


def test_the_metrics_count_requests(server: Served, images: list[Path]) -> None:
    """Requests, their time, images and batches are counted; unknown addresses have one name."""
    before = _metric(server, "cnncli_images"), _metric(server, "cnncli_requests", path="/predict", status="200")
    server.send("POST", "/predict", *form(images[:3]))
    server.send("GET", "/no/such/address")

    assert _metric(server, "cnncli_images") == before[0] + 3
    assert _metric(server, "cnncli_requests", path="/predict", status="200") == before[1] + 1
    assert _metric(server, "cnncli_requests", path="other", status="404") >= 1
    assert _metric(server, "cnncli_request_seconds", "_count", path="/predict") >= before[1] + 1


def test_unknown_methods_do_not_add_metrics(batching: BatchingPredictor) -> None:
    """Requests of invented methods, which need no token, are counted together and get a code of their own."""
    app = application(batching, token=TOKEN, hosts=None)
    answers = [ask(app, f"AAAA{n}", "/health") for n in range(20)]
    text = ask(app, "GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    assert {(answer.status, answer.document["code"]) for answer in answers} == {(405, "serve-method")}
    assert {answer.headers["allow"] for answer in answers} == {"GET"}
    assert {one.labels["method"] for one in samples if one.name == "cnncli_requests_total"} == {"other"}


def test_an_unknown_address_is_not_found(batching: BatchingPredictor) -> None:
    """An address that the server does not have gets 404 with its own code."""
    answer = ask(application(batching), "GET", "/no/such/address")

    assert (answer.status, answer.document["code"]) == (404, "serve-not-found")


def test_a_missing_classifier_for_single_images_is_reported(
    run: Run, batching: BatchingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """If the classifier for single images cannot be loaded, a warning says that they are answered more slowly."""
    folder = RunFolder(run.path.parent / "no such run")
    with caplog.at_level("WARNING"):
        add_single(folder, batching)

    assert [getattr(record.msg, "code", None) for record in caplog.records] == ["serve-single-slow"]
    assert batching.single is None


@pytest.fixture
def triton(server: Served) -> Iterator[tritonclient.http.InferenceServerClient]:
    """Return a client of the Open Inference Protocol."""
    client = tritonclient.http.InferenceServerClient(f"{server.host}:{server.port}")
    yield client
    client.close()


def test_a_client_of_the_open_inference_protocol_is_answered(triton: Any, run: Run, images: list[Path]) -> None:
    """Triton's client reads the metadata and gets the probabilities of `predict` for files and for pixels."""
    name, wanted = run.path.name, expected(run, images)
    files = tritonclient.http.InferInput("images", [len(images)], "BYTES")
    files.set_data_from_numpy(np.array([path.read_bytes() for path in images], object))
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])
    tensor = tritonclient.http.InferInput("pixels", list(pixels.shape), "UINT8")
    metadata = triton.get_model_metadata(name)

    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(name)
    assert not triton.is_model_ready("other")
    assert [one["name"] for one in metadata["inputs"]] == ["images", "pixels"]
    for binary in (True, False):
        tensor.set_data_from_numpy(pixels, binary_data=binary)
        for given in (files, tensor):
            wants = [tritonclient.http.InferRequestedOutput(one["name"], binary) for one in metadata["outputs"]]
            found = triton.infer(name, [given], outputs=wants, request_id="7")
            labels = [label.decode() if binary else label for label in found.as_numpy("label")]
            assert labels == [one["predictions"][0]["label"] for one in wanted]
            assert found.as_numpy("unknown").tolist() == [one["unknown"] for one in wanted]
            best = [one["predictions"][0]["probability"] for one in wanted]
            np.testing.assert_allclose(found.as_numpy("probabilities").max(axis=1), best, atol=TOLERANCE)
            assert found.get_response()["id"] == "7"


def test_the_name_of_a_model_is_decoded_once(batching: BatchingPredictor) -> None:
    """A run whose name has a percent sign is found by its name, which the server has already decoded."""
    api = PredictionApi("50%25", batching, lambda: None, Limits(), ServerMetrics())
    found, other = (
        ask(api.application(None, NAMES), "GET", f"/v2/models/{name}/ready") for name in ("50%25", "50%2525")
    )

    assert (found.status, other.status) == (200, 404)


def _infer(app: Any, document: object) -> Answer:
    return ask(app, "POST", "/v2/models/run/infer", json.dumps(document).encode())


def test_images_in_json_are_base64(batching: BatchingPredictor, images: list[Path]) -> None:
    """An inference request without binary data has images as Base64."""
    import base64

    data = [base64.b64encode(images[0].read_bytes()).decode()]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": data}
    answer = _infer(application(batching), {"inputs": [tensor]})

    assert answer.status == 200
    assert {one["name"] for one in answer.document["outputs"]} == {"probabilities", "label", "confidence", "unknown"}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"datatype": "FP32"},
        {"shape": [-1]},
        {"shape": [2**60]},
        {"shape": "1"},
        {"shape": [2]},
        {"data": ["!"]},
        {"data": [1]},
        {"data": {}},
        {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [[256] * 12]},
        {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [[0.5] * 12]},
        {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [1e400] * 12},
        {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 4], "data": [1] * 16},
        {"name": "\ud800"},
        {"datatype": "\ud800"},
        {"shape": ["\ud800"]},
    ],
    ids=ascii,
)
def test_a_wrong_tensor_is_refused(batching: BatchingPredictor, change: dict[str, object]) -> None:
    """A tensor of another name, type, shape or size than the protocol allows gets 400 and a reason."""
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["AAAA"], **change}
    answer = _infer(application(batching), {"inputs": [tensor]})

    assert (answer.status, answer.document["code"]) in ((400, "serve-request-invalid"), (413, "serve-too-many-images"))


@pytest.mark.parametrize("size", ["\ud800", 7, None], ids=ascii)
def test_a_wrong_size_of_a_binary_tensor_is_refused(batching: BatchingPredictor, size: object) -> None:
    """A stated size that is not that of the bytes after the JSON, or a lone surrogate, gets 400."""
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    answer = _infer(application(batching), {"inputs": [tensor]})

    assert (answer.status, answer.document["code"]) == (400, "serve-request-invalid")


@pytest.mark.parametrize("length", ["9" * 13, "9" * 5000, "-1", "0", "x", "\u00b2"], ids=lambda text: text[:13])
def test_a_wrong_length_of_the_json_is_refused(batching: BatchingPredictor, length: str) -> None:
    """A length of the JSON that is not a number, or has more digits than Python converts, gets 400."""
    headers = {HEADER_LENGTH: length}
    answer = ask(application(batching), "POST", "/v2/models/run/infer", b"{}", headers)

    assert (answer.status, answer.document["code"]) == (400, "serve-request-invalid")
    assert len(answer.content) < 300


@pytest.mark.parametrize("document", [None, [], {}, {"inputs": []}, {"inputs": [None]}, {"inputs": "x"}], ids=str)
def test_a_wrong_request_is_refused(batching: BatchingPredictor, document: object) -> None:
    """A document that is not an inference request gets 400."""
    answer = _infer(application(batching), document)

    assert (answer.status, answer.document["code"]) == (400, "serve-request-invalid")


def test_hostile_requests_are_survived(server: Served, run: Run, images: list[Path]) -> None:
    """After one hostile request of each kind, the answer for an image is the same, and none was answered with 500."""
    file = io.BytesIO()
    Image.open(images[0]).resize((400, 300)).save(file, "JPEG")
    before = server.send("POST", "/predict", images[0].read_bytes()).document
    found = attack((server.host, server.port), file.getvalue(), run.path.name, n=len(KINDS))

    assert {name for name, status in found if status >= 500 and status != 503} == set()
    assert {name for name, status in found if status == 200} <= {"damaged JPEG", "truncated JPEG", *HARMLESS}
    assert_equal(server.send("POST", "/predict", images[0].read_bytes()).document, before)


HARMLESS = {
    "ZIP behind a JPEG",
    "PNG at the limit of pixels",
    "GIF bomb",
    "upgrade",
    "slow body",
    "PNG longer than stated",
}
"""Requests that have an image, or ask for the page."""


def test_errors_of_the_classifier_reach_the_future(run: Run, images: list[Path]) -> None:
    """An image that cannot be decoded raises its own error, and the images beside it are answered."""
    predictor = load_predictor(run.folder.engine, run.folder.model)
    batching = BatchingPredictor(predictor, predictor.spec.pixels, capacity=8)
    good, bad = batching.submit([("a", images[0]), ("b", b"")])

    with pytest.raises(ImageError):
        bad.result()
    np.testing.assert_array_equal(
        good.result().probabilities, predictor.probabilities(decode(images[0], predictor.spec.pixels)[None])[0]
    )
    batching.close()
    assert batching.n_waiting == 0
