"""The training loop: what it computes (against bare PyTorch), that a stopped run continues bit for bit, and that everything that can go wrong has a name."""
import json, math, os, random, signal, subprocess, sys, textwrap, warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from interest_book import training
from interest_book.core import DataError, ShapeError, rng, torch_rng
from interest_book.training import (CheckpointError, CheckpointMismatchError, DivergenceError, History, batches, gradient_check, schedule_factor, seeded, train)

N = 100
X = torch.randn(N, 5, generator=torch_rng("test_training/x"))
Y = X @ torch.randn(5, 1, generator=torch_rng("test_training/w")) + 0.1 * torch.randn(N, 1, generator=torch_rng("test_training/e"))


def net(dropout=0.3, seed=0):
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()): p.copy_(0.5 * torch.randn(p.shape, generator=torch_rng(f"test_training/net/{k}", seed)))
    return model

def loss(model, x, y): return (model(x) - y).square().mean()
def fit(model, data=(X, Y), **changes): return train(model, loss, data, **{"epochs": 6, "batch_size": 32, "lr": 0.02, "device": "cpu", **changes})
def same(a, b): return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
def numbers(history): return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


# --- the same as a bare loop ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"schedule": "cosine", "warmup": 3}, {"schedule": "linear"}, {"clip": 0.5}], ids=str)
def test_equals_a_bare_pytorch_loop(options):
    ours, bare = net(0), net(0)
    history = fit(ours, **options)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.02, weight_decay=options.get("weight_decay", 0.0))
    total, step = 6 * 4, 0
    for epoch in range(1, 7):
        sizes, values = [], []
        for index in batches(N, 32, 0, epoch):
            optimizer.param_groups[0]["lr"] = 0.02 * schedule_factor(step, total, options.get("schedule", "constant"), options.get("warmup", 0))
            optimizer.zero_grad()
            value = loss(bare, X[index], Y[index])
            value.backward()
            if "clip" in options: nn.utils.clip_grad_norm_(bare.parameters(), options["clip"])
            optimizer.step()
            sizes.append(len(index)); values.append(value.item()); step += 1
        assert history.rows[epoch - 1]["loss"] == pytest.approx(np.average(values, weights=sizes), rel=1e-5)
        assert history.rows[epoch - 1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"])
    for p, q in zip(ours.parameters(), bare.parameters()): torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)      # fused and plain kernels round differently


def test_layers_at_their_own_rates_equal_pytorchs_groups_and_resume(tmp_path):
    ours, bare, again = net(0), net(0), net(0)
    scale = {"0": 0.1, "0.bias": 3.0}                # the longest prefix decides
    fit(ours, lr_scale=scale, schedule="cosine")
    optimizer = torch.optim.AdamW([{"params": [bare[0].weight], "scale": 0.1}, {"params": [bare[0].bias], "scale": 3.0}, {"params": bare[3].parameters(), "scale": 1.0}], lr=0.02, weight_decay=0.0)
    for epoch in range(1, 7):
        for i, index in enumerate(batches(N, 32, 0, epoch)):
            for g in optimizer.param_groups: g["lr"] = 0.02 * g["scale"] * schedule_factor((epoch - 1) * 4 + i, 24, "cosine")
            optimizer.zero_grad(); loss(bare, X[index], Y[index]).backward(); optimizer.step()
    for p, q in zip(ours.parameters(), bare.parameters()): torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    assert not same(ours, fit_and_return(lr_scale={"0": 0.1}, schedule="cosine"))
    left = iter(range(10))
    def stops(m, x, y): return loss(m, x, y) if next(left, None) is not None else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt): train(again, stops, (X, Y), epochs=6, batch_size=32, lr=0.02, device="cpu", lr_scale=scale, schedule="cosine", checkpoint=tmp_path)
    fresh = fit_and_return(lr_scale=scale, schedule="cosine", checkpoint=tmp_path)
    assert same(ours, fresh)
    with pytest.raises(CheckpointMismatchError, match="lr_scale"): fit(net(0), lr_scale={"0": 0.2}, schedule="cosine", checkpoint=tmp_path)


def fit_and_return(**options):
    model = net(0)
    fit(model, **options)
    return model


def test_same_seed_same_weights_other_seed_other_weights():
    a, b, c = net(), net(), net()
    fit(a); fit(b); fit(c, seed=1)
    assert same(a, b) and not same(a, c)


def test_recovers_planted_weights_within_the_error_of_least_squares():
    for seed in range(5):
        g = torch_rng("test_training/planted", seed)
        x, planted = torch.randn(2000, 5, generator=g), torch.randn(5, 1, generator=g)
        y = x @ planted + 0.5 * torch.randn(2000, 1, generator=g)
        model = nn.Linear(5, 1)
        train(model, loss, [x, y], epochs=30, batch_size=100, lr=0.05, schedule="cosine", seed=seed, device="cpu")
        exact = torch.linalg.lstsq(torch.cat([x, torch.ones(2000, 1)], 1), y).solution
        assert torch.cat([model.weight.detach().T, model.bias.detach()[None]]).sub(exact).abs().max() < 0.002       # a tenth of a standard error, 0.5 / sqrt(2000)
        assert (model.weight.detach().T - planted).norm() < 4 * 0.5 * math.sqrt(5 / 2000)


def test_sparse_rows_equal_dense_rows():
    dense = torch.from_numpy((rng("test_training/sparse").random((N, 5)) < 0.4).astype(np.float32))
    a, b = net(), net()
    fit(a, (dense, Y)); fit(b, (sp.csr_array(dense.numpy()), Y))
    assert same(a, b)
    c = net(); fit(c, (sp.csr_matrix(dense.numpy()), Y)); assert same(a, c)


def test_frozen_parameters_stay_and_buffers_are_kept():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model)
    assert torch.equal(model[0].weight, before) and model[1].num_batches_tracked == 6 * 4


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32():
    seen = set()
    def spy(model, x, y):
        out = model(x)
        seen.add(out.dtype)
        return (out.float() - y).square().mean()
    model, full = net(0), net(0)
    train(model, spy, [X, Y], epochs=40, batch_size=32, lr=0.02, precision="bf16", device="cpu")
    fit(full, epochs=40)
    assert seen == {torch.bfloat16} and all(p.dtype == torch.float32 for p in model.parameters())
    assert loss(model, X, Y).item() < 2 * loss(full, X, Y).item() + 0.02 and not same(model, full)


# --- order, schedule, gradient check ----------------------------------------------------------------------------------

@given(n=st.integers(1, 200), size=st.integers(1, 250), seed=st.integers(0, 5), epoch=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_batches_hold_every_row_once(n, size, seed, epoch):
    parts = list(batches(n, size, seed, epoch))
    assert torch.cat(parts).sort().values.tolist() == list(range(n))
    assert [len(p) for p in parts[:-1]] == [size] * (len(parts) - 1) and 1 <= len(parts[-1]) <= size
    assert all(torch.equal(a, b) for a, b in zip(parts, batches(n, size, seed, epoch)))


def test_batches_change_with_epoch_and_seed():
    first = [torch.cat(list(batches(50, 7, seed, epoch))).tolist() for seed in (0, 1) for epoch in (1, 2)]
    assert len({tuple(f) for f in first}) == 4


@given(total=st.integers(2, 60), data=st.data())
@settings(max_examples=50, deadline=None)
def test_schedule_factor_agrees_with_pytorch(total, data):
    warmup = data.draw(st.integers(0, total - 1))
    schedule = data.draw(st.sampled_from(["constant", "cosine", "linear"]))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    S, rest = torch.optim.lr_scheduler, total - warmup
    after = {"constant": lambda: S.ConstantLR(optimizer, 1.0), "cosine": lambda: S.CosineAnnealingLR(optimizer, rest), "linear": lambda: S.LinearLR(optimizer, 1.0, 0.0, rest)}[schedule]
    theirs = after() if not warmup else S.SequentialLR(optimizer, [S.LambdaLR(optimizer, lambda k: (k + 1) / warmup), after()], [warmup])
    for step in range(total):
        assert schedule_factor(step, total, schedule, warmup) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.step()


@given(total=st.integers(1, 100), data=st.data())
@settings(max_examples=50, deadline=None)
def test_schedule_factor_is_a_share(total, data):
    step, warmup = data.draw(st.integers(0, total - 1)), data.draw(st.integers(0, total - 1))
    for schedule in ("constant", "cosine", "linear"): assert 0 < schedule_factor(step, total, schedule, warmup) <= 1
    assert schedule_factor(warmup, total, "cosine", warmup) == 1


@pytest.mark.parametrize("arguments", [(0, 10, "cos"), (10, 10), (-1, 10), (0, 10, "linear", 10), (0, 10, "linear", -1)])
def test_schedule_factor_names_bad_input(arguments):
    with pytest.raises(ValueError, match="schedule|step"): schedule_factor(*arguments)


def test_gradient_check_finds_a_wrong_gradient_and_puts_values_back():
    a, b = (torch.randn(s, dtype=torch.float64, generator=torch_rng(f"test_training/{s}")).requires_grad_() for s in ((3, 2), (2,)))
    before = a.detach().clone()
    value = lambda: (torch.sigmoid(a) @ b).square().sum()
    assert gradient_check(value, [a, b]) < 1e-8
    right = torch.autograd.grad(value(), [a, b])
    assert gradient_check(value, [a, b], [right[0], 2 * right[1]]) > 0.1
    assert gradient_check(value, [a, b], [right[0] + 1e-3, right[1]]) > 1e-5
    assert torch.equal(a, before)
    assert gradient_check(lambda: b.square().sum(), [a, b]) < 1e-8              # a parameter that is not used has gradient zero
    with pytest.raises(DataError, match="float64"): gradient_check(value, [a.detach().float()])
    with pytest.raises(ShapeError, match="shape"): gradient_check(value, [a, b], [right[0].T, right[1]])
    with pytest.raises(ValueError): gradient_check(value, [a, b], [right[0]])


def test_gradient_check_is_not_fooled_by_nothing_or_nan():
    model = net().double()
    value = lambda: loss(model.eval(), X.double(), Y.double())
    wrong = [torch.zeros_like(p) for p in model.parameters()]
    assert gradient_check(value, model.parameters()) < 1e-6 and gradient_check(value, model.parameters(), wrong) > 0.5        # an iterator is read once
    with pytest.raises(DataError, match="no parameters"): gradient_check(value, [])
    a = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert math.isnan(gradient_check(lambda: a.sqrt().sum(), [a]))
    assert math.isnan(gradient_check(lambda: a.square().sum(), [a], [torch.tensor([math.nan, 4.0]).double()]))


def test_seeded_repeats_itself_and_puts_the_stream_back_after_an_error():
    def drawn(name, seed):
        with seeded(name, seed): return torch.rand(3).tolist()
    assert drawn("a", 0) == drawn("a", 0) and len({tuple(drawn(n, s)) for n in "ab" for s in (0, 1)}) == 4
    before = torch.get_rng_state()
    with pytest.raises(Stop), seeded("a"):
        torch.rand(1)
        raise Stop
    assert torch.equal(torch.get_rng_state(), before)


# --- stopping, and going on -------------------------------------------------------------------------------------------

class Stop(Exception): "An interrupt at a chosen place."

OPTIONS = {"schedule": "cosine", "warmup": 2, "clip": 1.0, "weight_decay": 0.01}

def whole():
    model = net()
    return model, fit(model, validate=lambda m: float(loss(m, X, Y)), **OPTIONS)


@given(place=st.integers(1, 24))
@settings(max_examples=8, deadline=None)
def test_a_run_stopped_at_any_step_continues_bit_for_bit(place, tmp_path_factory):
    folder, count = tmp_path_factory.mktemp("run"), 0
    def breaks(model, x, y):
        nonlocal count
        count += 1
        if count == place: raise Stop
        return loss(model, x, y)
    valid = lambda m: float(loss(m, X, Y))
    common = {"epochs": 6, "batch_size": 32, "lr": 0.02, "device": "cpu", "validate": valid, "checkpoint": folder, **OPTIONS}
    with pytest.raises(Stop): train(net(), breaks, [X, Y], **common)
    stored = folder / "checkpoint.json"
    assert (len(json.loads(stored.read_text())["rows"]) if stored.exists() else 0) == (place - 1) // 4      # at most one epoch is lost
    later = net(seed=9)                                                                                       # its weights are replaced by the checkpoint's
    if not stored.exists(): later = net()
    history = train(later, loss, [X, Y], **common)
    model, expected = whole()
    assert same(later, model) and numbers(history) == numbers(expected) and history.best_epoch == expected.best_epoch


def test_a_finished_run_is_not_run_again(tmp_path):
    first, second = net(), net(seed=5)
    one = fit(first, checkpoint=tmp_path / "run")
    calls = []
    two = train(second, lambda m, x, y: calls.append(1) or loss(m, x, y), [X, Y], epochs=6, batch_size=32, lr=0.02, device="cpu", checkpoint=str(tmp_path / "run"))
    assert not calls and same(first, second) and one.rows == two.rows


def test_numpy_settings_and_an_infinite_validation_value_can_be_stored(tmp_path):
    def plan(): return {"seed": np.int64(2), "lr": np.float32(0.02), "checkpoint": tmp_path, "validate": lambda m, v=iter([math.inf, 2.0, 3.0, 4.0, 5.0, 6.0]): next(v)}
    first, second = net(), net(seed=5)
    one, two = fit(first, **plan()), fit(second, **plan())
    assert same(first, second) and numbers(one) == numbers(two) and one.best_epoch == two.best_epoch == 2 and one.rows[0]["valid"] == math.inf


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("sync") or sync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: order.append(Path(b).name.split("-")[0]) or replace(a, b))
    fit(net(), checkpoint=tmp_path, epochs=2)
    assert order == ["sync", "state", "sync", "checkpoint.json"] * 2


@pytest.mark.parametrize("name", ["state-", "checkpoint.json"])
def test_killed_in_the_middle_of_a_write(tmp_path, monkeypatch, name):
    written, real = 0, training.atomic_write
    class Half:
        def __init__(self, path, mode="w"): self.path, self.mode = path, mode
        def __enter__(self): return self
        def write(self, text):
            with open(self.path.parent / f".{self.path.name}.half", self.mode) as f: f.write(text[:len(text) // 2])
            raise Stop
        def __exit__(self, *_): return False
    def failing(path, mode="w"):
        nonlocal written
        written += path.name.startswith(name)
        return Half(path, mode) if written == 3 and path.name.startswith(name) else real(path, mode)
    monkeypatch.setattr(training, "atomic_write", failing)
    with pytest.raises(Stop): fit(net(), checkpoint=tmp_path, **OPTIONS)
    monkeypatch.undo()
    assert len(json.loads((tmp_path / "checkpoint.json").read_text())["rows"]) == 2
    later, model = net(), net()
    fit(later, checkpoint=tmp_path, **OPTIONS); fit(model, **OPTIONS)
    assert same(later, model) and len(list(tmp_path.iterdir())) == 2                 # the rubbish of the broken write is gone


def test_a_process_killed_by_the_system_continues(tmp_path):
    code = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
        import test_training as t
        from interest_book import training
        real, n = training.atomic_write, 0
        def killing(path, mode="w"):
            global n
            n += 1
            if n == 6:
                open(path.parent / (".state-rest"), "wb").write(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, mode)
        training.atomic_write = killing
        t.fit(t.net(), checkpoint={str(tmp_path)!r}, **t.OPTIONS)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    later, model = net(), net()
    fit(later, checkpoint=tmp_path, **OPTIONS); fit(model, **OPTIONS)
    for a, b in zip(later.parameters(), model.parameters()): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)     # another process may sum in another order


def test_a_stop_by_patience_is_remembered(tmp_path):
    valid, first, second = iter([3.0, 2.0, 2.5, 2.6, 1.0, 0.5]), net(), net(seed=3)
    one = fit(first, validate=lambda m: next(valid), patience=2, checkpoint=tmp_path)
    two = fit(second, validate=lambda m: 0.0, patience=2, checkpoint=tmp_path)
    assert same(first, second)                                             # the best weights are in the checkpoint too, not only the last ones
    assert one.stopped == two.stopped == "patience" and len(one.rows) == len(two.rows) == 4 and two.best_epoch == 2


@pytest.mark.parametrize("change, words", [({"lr": 0.01}, "lr was 0.02 and is 0.01"), ({"epochs": 9}, "epochs was 6"), ({"seed": 3}, "seed"), ({"clip": 1.0}, "clip was None"),
                                           ({"data": (X, Y + 1)}, "the data are others"), ({"data": (X[:50], Y[:50])}, "data"), ({"validate": lambda m: 0.0}, "validate")], ids=lambda v: str(v)[:12])
def test_other_settings_are_a_named_error(tmp_path, change, words):
    fit(net(), checkpoint=tmp_path)
    model = net(seed=4)
    with pytest.raises(CheckpointMismatchError, match=words): fit(model, **{"checkpoint": tmp_path, **change})
    assert same(model, net(seed=4).eval())                                   # nothing was touched


def test_sparse_data_are_compared_by_form_and_content(tmp_path):
    columns, values = np.arange(N) % 5, np.ones(N, np.float32)
    likes = lambda columns, values=values: (sp.csr_array((values, columns, np.arange(N + 1)), shape=(N, 5)), Y)
    fit(net(), likes(columns), checkpoint=tmp_path)
    fit(net(), likes(columns.copy()), checkpoint=tmp_path)
    for other in (likes((columns + 1) % 5), likes(columns, 2 * values)):
        with pytest.raises(CheckpointMismatchError, match="the data are others"): fit(net(), other, checkpoint=tmp_path)


def test_another_model_is_a_named_error(tmp_path):
    fit(net(), checkpoint=tmp_path)
    with pytest.raises(CheckpointMismatchError, match="other weights"): fit(nn.Linear(5, 1), checkpoint=tmp_path)
    frozen = net(); frozen[0].requires_grad_(False)
    with pytest.raises(CheckpointMismatchError, match="frozen"): fit(frozen, checkpoint=tmp_path)


def damage_state(folder):
    path = next(folder.glob("state-*")); blob = bytearray(path.read_bytes()); blob[-1] ^= 1; path.write_bytes(blob)

@pytest.mark.parametrize("damage, words", [
    (damage_state, "damaged"), (lambda f: next(f.glob("state-*")).unlink(), "missing"), (lambda f: (f / "checkpoint.json").write_text('{"format": 1, "se'), "damaged"),
    (lambda f: (f / "checkpoint.json").write_text('{"format": 99}'), "unknown format"), (lambda f: (f / "checkpoint.json").write_text("[]"), "unknown format"),
    (lambda f: (f / "checkpoint.json").write_bytes(b"\xff\xfe\x00"), "damaged"), (lambda f: (f / "checkpoint.json").write_text('{"format": 1}'), "damaged")])
def test_a_damaged_checkpoint_is_a_named_error(tmp_path, damage, words):
    fit(net(), checkpoint=tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=words) as e: fit(net(), checkpoint=tmp_path)
    assert "delete the folder" in str(e.value) and not isinstance(e.value, CheckpointMismatchError)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"): fit(net(), checkpoint=tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine"); (tmp_path / "model.safetensors").write_text("mine too")
    fit(net(), checkpoint=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {"notes.txt", "model.safetensors", "checkpoint.json"}


# --- randomness, mode -------------------------------------------------------------------------------------------------

def test_nobody_elses_random_numbers_are_moved():
    states = lambda: (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled())
    model, other = net(), net()                                       # layers draw their first weights when they are made
    before = states()
    fit(model, validate=lambda m: float(torch.rand(1)))
    with pytest.raises(Stop): train(other, lambda *_: (_ for _ in ()).throw(Stop()), [X, Y], device="cpu")
    assert states() == before


def test_random_numbers_differ_between_epochs_and_seeds():
    def drawn(seed):
        out = []
        train(net(), lambda m, x, y: out.append(torch.rand(1).item()) or loss(m, x, y), [X, Y], epochs=3, batch_size=N, seed=seed, device="cpu")
        return out
    assert len({*drawn(0), *drawn(1)}) == 6 and drawn(0) == drawn(0)


def test_the_result_does_not_depend_on_the_global_seed():
    a, b = net(), net()
    with torch.random.fork_rng():
        torch.manual_seed(1); fit(a)
        torch.manual_seed(2); torch.rand(7); fit(b)
    assert same(a, b)


def test_the_model_ends_in_eval_mode_and_validation_sees_it_so():
    modes = []
    model = net()
    fit(model, validate=lambda m: modes.append((m.training, torch.is_grad_enabled())) or 0.0)
    assert modes == [(False, False)] * 6 and not model.training and torch.equal(model(X), model(X))
    with pytest.raises(Stop): train(model, lambda *_: (_ for _ in ()).throw(Stop()), [X, Y], device="cpu")
    assert not model.training


def test_early_stopping_keeps_the_best_weights():
    kept, values = {}, iter([0.5, 0.9, 0.7, 0.8, 0.9, 1.0])
    def valid(m):
        kept[len(kept) + 1] = {k: v.clone() for k, v in m.state_dict().items()}
        return next(values)
    model = net()
    history = fit(model, validate=valid, larger_is_better=True, patience=3)
    assert history.best_epoch == 2 and history.stopped == "patience" and len(history.rows) == 5
    assert all(torch.equal(v, kept[2][k]) for k, v in model.state_dict().items())
    assert list(history.table.columns) == ["loss", "valid", "lr", "seconds"] and list(history.table.index) == [1, 2, 3, 4, 5]
    values = iter([0.5, 0.4, 0.4, 0.6, 0.3, 0.35])
    history = fit(net(), validate=lambda m: next(values))
    assert history.best_epoch == 5 and history.stopped == "epochs" and len(history.rows) == 6


def test_histories_do_not_share_rows():
    assert History().rows is not History().rows and len(History().table) == 0


# --- divergence -------------------------------------------------------------------------------------------------------

class Weight(nn.Module):
    def __init__(self, value): super().__init__(); self.w = nn.Parameter(torch.tensor(value))


def breaking(at, value):
    "A loss that becomes `value` at call number `at`."
    calls = []
    def bad(m, x):
        calls.append(1)
        return (m.w * x).mean() * (value if len(calls) == at else 1.0)
    return bad


def test_divergence_is_caught_explained_and_undone(tmp_path):
    model, kept = Weight(1.0), []
    def valid(m): kept.append(m.w.item()); return 0.0
    with pytest.raises(DivergenceError, match="loss became -inf at epoch 7, step 1 of 2, learning rate 4; the last good loss was") as e:
        train(model, breaking(13, math.inf), [torch.ones(10)], epochs=50, batch_size=5, lr=4.0, device="cpu", validate=valid, checkpoint=tmp_path)
    error = e.value
    assert (error.epoch, error.step, error.lr) == (7, 1, 4.0) and math.isfinite(error.last_loss)
    assert all(words in str(error) for words in ("after epoch 6", "lr=0.4", "clip=1.0", "warmup=10"))
    assert model.w.item() == kept[5] != kept[0] and not model.training                        # the weights of the last whole epoch, not the best ones
    assert len(json.loads((tmp_path / "checkpoint.json").read_text())["rows"]) == 6


def test_divergence_after_a_resume_knows_what_was_before(tmp_path):
    def run(loss): return train(Weight(1.0), loss, [torch.ones(10)], epochs=5, batch_size=5, device="cpu", checkpoint=tmp_path)
    with pytest.raises(DivergenceError): run(breaking(5, math.nan))
    stored = json.loads((tmp_path / "checkpoint.json").read_text())
    with pytest.raises(DivergenceError, match="epoch 3, step 1") as e: run(breaking(1, math.nan))
    assert len(stored["rows"]) == 2 and e.value.last_loss == stored["last_loss"] is not None and "after epoch 2" in str(e.value)


def test_squares_that_overflow_are_found():
    "Adam divides by the root of an infinite average and stands still for ever, with a finite loss."
    model = Weight(1.0)
    with pytest.raises(DivergenceError, match="average"): train(model, lambda m, x: (m.w * x).mean() * 1e25, [torch.ones(4)], epochs=3, device="cpu")
    assert model.w.item() == 1.0


def test_large_finite_weights_are_no_divergence():
    model = Weight([3e38, 3e38])                                             # their sum overflows, they do not
    train(model, lambda m, x: m.w[0] / 1e38, [torch.ones(4)], epochs=1, device="cpu")
    assert model.w.isfinite().all()


def test_divergence_is_found_at_its_step_although_losses_are_looked_at_in_groups():
    model = Weight(1.0)
    with pytest.raises(DivergenceError, match="nan") as e: train(model, breaking(45, math.nan), [torch.ones(1000)], batch_size=10, device="cpu")
    assert (e.value.epoch, e.value.step) == (1, 45) and model.w.item() == 1.0


@pytest.mark.parametrize("clip, words", [(1.0, "the gradient became"), (None, "a weight became")])
def test_a_bad_gradient_under_a_good_loss_is_found(clip, words):
    model = Weight(0.0)
    with pytest.raises(DivergenceError, match=words): train(model, lambda m, x: m.w.square().sqrt(), [torch.ones(4)], epochs=1, clip=clip, device="cpu")
    assert model.w.item() == 0.0


def test_nan_in_the_data_says_so():
    x = X.clone(); x[3, 2] = math.nan
    with pytest.raises(DivergenceError, match="NaN in the data"): fit(net(), (x, Y), batch_size=100)


# --- bad input, progress ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("changes, error, words", [
    ({"data": X}, DataError, "into a list"), ({"data": sp.csr_array(X.numpy())}, DataError, "into a list"), ({"data": []}, DataError, "empty"), ({"data": [X, Y[:-1]]}, ShapeError, r"\[100, 99\] rows"),
    ({"data": [X[:0], Y[:0]]}, DataError, "no rows"), ({"data": [X.numpy(), Y]}, DataError, "as_tensor"), ({"data": [sp.coo_array(X.numpy()), Y]}, DataError, "CSR"), ({"data": [torch.tensor(1.0)]}, ShapeError, "single number"),
    ({"epochs": 0}, ValueError, "epochs"), ({"batch_size": 0}, ValueError, "batch_size"), ({"lr": 0.0}, ValueError, "lr"), ({"lr": math.nan}, ValueError, "lr"), ({"weight_decay": -1.0}, ValueError, "weight_decay"),
    ({"clip": 0.0}, ValueError, "clip"), ({"patience": 0, "validate": lambda m: 0.0}, ValueError, "patience"), ({"patience": 3}, ValueError, "validate"), ({"schedule": "step"}, ValueError, "schedule"),
    ({"warmup": 24}, ValueError, "warmup"), ({"precision": "int8"}, ValueError, "precision"), ({"precision": "fp16"}, ValueError, "CUDA"), ({"device": "abacus"}, ValueError, "device"), ({"seed": -1}, ValueError, "seed"), ({"lr_scale": {"0": 0.0}}, ValueError, "requires_grad_"), ({"lr_scale": {"layer": 0.5}}, DataError, "0.weight")], ids=lambda v: str(v)[:24])
def test_bad_input_is_named_before_any_work(changes, error, words):
    model = net()
    def never(*_): raise AssertionError("work was done")
    with pytest.raises(error, match=words): train(model, never, **{"data": (X, Y), "epochs": 6, "batch_size": 32, "device": "cpu", **changes})
    assert same(model, net())


def test_bad_losses_and_models_are_named():
    with pytest.raises(ShapeError, match=r"shape \(32, 1\).*mean"): train(net(), lambda m, x, y: m(x) - y, [X, Y], batch_size=32, device="cpu")
    with pytest.raises(ShapeError, match="float"): train(net(), lambda m, x, y: loss(m, x, y).item(), [X, Y], device="cpu")
    with pytest.raises(DataError, match="does not depend"): train(net(), lambda m, x, y: loss(m, x, y).detach(), [X, Y], device="cpu")
    with pytest.raises(DataError, match="no parameters"): train(net().requires_grad_(False), loss, [X, Y], device="cpu")
    with pytest.raises(DataError, match="nanmean"): fit(net(), validate=lambda m: math.nan)


def test_the_bar_shows_the_loss_and_can_be_silent(capfd, tmp_path):
    fit(net(), progress=True, checkpoint=tmp_path)
    shown = capfd.readouterr().err
    fit(net(), progress=True, checkpoint=tmp_path)
    assert "24/24" in capfd.readouterr().err                          # a run that was finished is shown as finished
    assert "epoch 6/6" in shown and "loss " in shown and "24/24" in shown
    fit(net(), progress=False); fit(net())
    assert capfd.readouterr().err == ""


# --- GPU --------------------------------------------------------------------------------------------------------------

@pytest.mark.gpu
def test_gpu_agrees_with_cpu_and_continues(tmp_path):
    cpu, gpu = net(0), net(0)
    one, two = fit(cpu, **OPTIONS), fit(gpu, **OPTIONS, device="cuda")
    for p, q in zip(cpu.parameters(), gpu.parameters()): torch.testing.assert_close(q.cpu(), p, rtol=1e-3, atol=1e-4)
    assert [r["loss"] for r in one.rows] == pytest.approx([r["loss"] for r in two.rows], rel=1e-3)
    state = torch.cuda.get_rng_state()
    whole_run, stopped, count = net(), net(), []
    fit(whole_run, device="cuda")
    def breaks(m, x, y):
        count.append(1)
        if len(count) == 10: raise Stop
        return loss(m, x, y)
    with pytest.raises(Stop): train(stopped, breaks, [X, Y], epochs=6, batch_size=32, lr=0.02, device="cuda", checkpoint=tmp_path)
    later = net()
    fit(later, device="cuda", checkpoint=tmp_path)
    assert same(whole_run, later) and torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.gpu
def test_fp16_continues_with_its_loss_scale(tmp_path):
    whole_run, later, count = net(), net(), []
    def breaks(m, x, y):
        count.append(1)
        if len(count) == 10: raise Stop
        return loss(m, x, y)
    with pytest.raises(Stop): train(net(), breaks, [X, Y], epochs=6, batch_size=32, lr=0.02, device="cuda", precision="fp16", checkpoint=tmp_path)
    fit(whole_run, device="cuda", precision="fp16"); fit(later, device="cuda", precision="fp16", checkpoint=tmp_path)
    assert same(whole_run, later) and json.loads((tmp_path / "checkpoint.json").read_text())["scaler"]["scale"] > 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_gpu_half_precision_learns_as_much(precision):
    half, full = net(0), net(0)
    fit(half, device="cuda", precision=precision, epochs=40); fit(full, device="cuda", epochs=40)
    on = lambda m: loss(m, X.to("cuda"), Y.to("cuda")).item()
    assert on(half) < 2 * on(full) + 0.02


def test_a_part_is_not_another_whose_name_begins_alike():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2), "c": nn.Linear(2, 2)})
    sizes = {g["scale"]: len(g["params"]) for g in training._groups(model, {"a": 0.5})}
    assert sizes == {0.5: 2, 1.0: 4}
    with pytest.raises(DataError, match="below"): training._groups(model, {"b": 0.5})
