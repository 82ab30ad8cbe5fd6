"""What a fit does before there is a job: the gate, the backbone's export and the features, in one pass."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vizsla.images import Preprocessing
from vizsla.models.export_process import BackboneExport
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.trainer import check_cuts, launcher_for
from vizsla.training.look import FeatureLook
from vizsla.tuning.fine_tuning_space import check_fine_tuning_space, cuts
from vizsla.tuning.head_space import check_space, default_space
from vizsla.tuning.strategies import warm_up
from vizsla.workflow.cluster_look import ClusterLook, is_elsewhere
from vizsla.workflow.gate import DataCheck, look, open_source
from vizsla.workflow.observer import Observer
from vizsla.workflow.request import FitRequest
from vizsla.workflow.watch import Watch


@dataclass(frozen=True)
class Preparation:
    """What a fit begins with: the data as they came through the gate, and the backbone, perhaps still on its way.

    ``specs`` are the backbones to choose among; ``export`` is that of the first. ``look`` has computed features of the
    pictures that the gate looked at; None where time is limited, as then a fair sample of the pictures comes first, and
    where the backbone is still to be chosen.
    """

    specs: tuple[BackboneSpec, ...]
    checked: DataCheck
    export: BackboneExport
    look: FeatureLook | ClusterLook | None


class Start:
    """What can be refused before there is a job: the request, and a source that cannot be listed.

    The backbone's export begins here, in a process of its own; :meth:`close` ends it if nobody waits for it any more.

    Raises
    ------
    VizslaError
        When the request cannot be meant or the source cannot be listed.
    """

    def __init__(self, request: FitRequest, watch: Watch, observer: Observer) -> None:
        self._request = request
        self._specs = request.backbone_specs()
        if request.tune is not None:
            if isinstance(request.head, FineTuneConfig):
                assert request.tune.space is not None
                check_fine_tuning_space(request.head, request.tune.space)
            else:
                check_space(request.head, request.tune.space or default_space())
            warm_up(request.tune.strategy, request.tune.limits.trials)
        elif isinstance(request.head, FineTuneConfig) and (request.head.processes or 1) > 1:
            launcher_for(request.executor, settings().home).processes(request.head)
        if isinstance(request.head, FineTuneConfig):
            searched = () if request.tune is None else cuts(request.tune.space)
            places = [place for place in (request.head.cut, *searched) if place is not None]
            for spec in self._specs if places else ():
                check_cuts(spec, places)
        # Looking at every picture may take a quarter of the time; the rest of them is looked at next time.
        deadline = None if request.minutes is None else time.monotonic() + 15 * request.minutes
        self._source = open_source(request.data_request(deadline), observer, watch)
        self._export = BackboneExport(self._specs[0], settings().cache)

    @property
    def name(self) -> str:
        """The data set's name."""
        return self._source.listing.name

    def prepare(self, watch: Watch, observer: Observer) -> Preparation:
        """Look at the pictures, and compute the features of what is looked at.

        Raises
        ------
        VizslaError
            When the data cannot be used. An error of the backbone waits until its result is asked for.
        """
        features: FeatureLook | ClusterLook | None = None
        elsewhere = None
        if is_elsewhere(self._request.executor):
            backbone = self._export.result()
            features = elsewhere = ClusterLook(self._request.executor, backbone, backbone.path, settings().cache)
        elif self._request.minutes is None and len(self._specs) == 1:
            preprocessing = Preprocessing.of_weights(self._specs[0].data_config())
            features = FeatureLook(self._export, settings().cache, preprocessing)
        checked = look(self._source, observer, watch, features, elsewhere)
        checked.gated.check()
        return Preparation(self._specs, checked, self._export, features)

    def close(self) -> None:
        """End the export if it still runs."""
        self._export.close()
