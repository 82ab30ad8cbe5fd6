"""Other servers with the same model, for benchmarks/serving.py. Runs in an environment of their own.

    python serving_peers.py SERVER ENGINE MODEL_DIR PORT WORKERS BATCH

SERVER is litserve, bentoml or ray; ENGINE onnx (the model's own ONNX file) or torch (timm's model, eager,
channels-last). WORKERS engine processes share the cores. The decoding is Vizsla's in all of them, so that only
servers and engines differ.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    os.environ["VIZSLA_PEER"] = "|".join(sys.argv[1:7])
# Workers that the servers start import this file again and find their settings in the environment.
SERVER, ENGINE, MODEL, PORT, WORKERS, BATCH = os.environ["VIZSLA_PEER"].split("|")
THREADS = max(1, (os.cpu_count() or 1) // int(WORKERS))


class Classifier:
    """Decode, engine, head."""

    def __init__(self) -> None:
        from vizsla.images import Limits
        from vizsla.models import artifact

        saved = artifact.load(Path(MODEL))
        self.limits, self.preprocessing, self.head = Limits.from_settings(), saved.preprocessing, saved.head
        if ENGINE == "onnx":
            from vizsla.models.engine import OnnxEngine

            self.features = OnnxEngine(Path(MODEL) / "backbone.onnx", threads=THREADS).features
        else:
            import timm
            import torch

            torch.set_num_threads(THREADS)
            module = timm.create_model(saved.card.backbone.name, pretrained=False, num_classes=0).eval()
            module = module.to(memory_format=torch.channels_last)

            def features(pixels: np.ndarray) -> np.ndarray:
                with torch.inference_mode():
                    x = torch.from_numpy(self.preprocessing.normalise(pixels)).contiguous(
                        memory_format=torch.channels_last
                    )
                    return module(x).numpy()

            self.features = features

    def decode(self, data: bytes) -> np.ndarray:
        return self.preprocessing(data, self.limits)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.head.probabilities(self.features(pixels))


if SERVER == "litserve":
    import litserve as ls

    class Api(ls.LitAPI):
        def setup(self, device: str) -> None:
            self.model = Classifier()

        def decode_request(self, request: dict) -> np.ndarray:  # LitServe reads JSON or forms, not raw bodies
            return self.model.decode(base64.b64decode(request["image"]))

        def batch(self, inputs: list) -> np.ndarray:
            return np.stack(inputs)

        def predict(self, x: np.ndarray) -> np.ndarray:
            return self.model.predict(x if x.ndim == 4 else x[None])

        def unbatch(self, output: np.ndarray) -> list:
            return list(output)

        def encode_response(self, output: np.ndarray) -> list:
            return output.reshape(-1).tolist()


def litserve() -> None:
    batch = int(BATCH)
    api = Api(max_batch_size=batch, batch_timeout=0.002 if batch > 1 else 0.0, api_path="/predict")
    ls.LitServer(api, accelerator="cpu", workers_per_device=int(WORKERS), timeout=120).run(
        host="127.0.0.1", port=int(PORT), generate_client_file=False, log_level="error"
    )


def bento_service() -> type:
    import bentoml

    @bentoml.service(workers=int(WORKERS), traffic={"timeout": 120, "max_concurrency": 1000})
    class Photos:
        def __init__(self) -> None:
            self.model = Classifier()

        @bentoml.api(route="/predict")
        def predict(self, image: str) -> list[float]:
            return self.model.predict(self.model.decode(base64.b64decode(image))[None])[0].tolist()

    return Photos


def ray() -> None:
    import ray
    from ray import serve
    from starlette.requests import Request

    ray.init(num_cpus=max(2, int(WORKERS)), include_dashboard=False, logging_level="error", log_to_driver=False,
             object_store_memory=200_000_000)  # fmt: skip

    class Photos:
        def __init__(self) -> None:
            self.model = Classifier()

        @serve.batch(max_batch_size=int(BATCH), batch_wait_timeout_s=0.002)
        async def many(self, pictures: list[bytes]) -> list[list[float]]:
            return self.model.predict(np.stack([self.model.decode(data) for data in pictures])).tolist()

        async def __call__(self, request: Request) -> list[float]:
            return await self.many(await request.body())

    serve.start(
        http_options={"host": "127.0.0.1", "port": int(PORT)},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    deployment = serve.deployment(
        Photos, num_replicas=int(WORKERS), max_ongoing_requests=256, ray_actor_options={"num_cpus": 1}
    )
    serve.run(deployment.bind(), route_prefix="/predict", blocking=True)


if __name__ == "__main__":
    if SERVER == "bentoml":
        os.environ["BENTOML_DO_NOT_TRACK"] = "True"
        here = Path(__file__).resolve()
        os.execv(
            sys.executable,
            [sys.executable, "-m", "bentoml", "serve", f"{here.stem}:Served", "--port", PORT, "--host", "127.0.0.1",
             "--working-dir", str(here.parent)],
        )  # fmt: skip
    {"litserve": litserve, "ray": ray}[SERVER]()
elif SERVER == "bentoml":
    Served = bento_service()
