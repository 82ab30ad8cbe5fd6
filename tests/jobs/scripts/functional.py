"""A functional loss recorded by hand, vizsla.log_metric, a helper module beside the script, results in output/data."""

import csv
import os

import torch
from layers import small_network
from smdebug.core.modes import ModeKeys
from smdebug.pytorch import get_hook
from smdebug.trials import create_trial

import vizsla

hook = get_hook(create_if_not_exists=True)
model = small_network()
hook.register_hook(model)
optimizer = torch.optim.SGD(model.parameters(), lr=float(os.environ["SM_HP_LR"]))
x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
rows = []
for epoch in range(3):
    for mode in (ModeKeys.TRAIN, ModeKeys.EVAL):
        hook.set_mode(mode)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        hook.record_tensor_value("loss", tensor_value=loss)
        if mode is ModeKeys.TRAIN:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    vizsla.log_metric("train loss", loss, step=epoch)
    rows.append([epoch, loss.item()])
hook.close()
trial = create_trial(os.path.join(os.environ["VIZSLA_JOB_DIR"], "output", "debug"))
assert trial.steps(ModeKeys.TRAIN) == [0, 1, 2], trial.steps(ModeKeys.TRAIN)
with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "history.csv"), "w", newline="") as file:
    csv.writer(file).writerows(rows)
torch.save(model.state_dict(), os.environ["SM_MODEL_DIR"] + "/model.pth")
