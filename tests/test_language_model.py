"""Chapter 20: language models."""
import math
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from interest_book.baselines import Popularity
from interest_book.core import DataError, ShapeError, rng, torch_rng
from interest_book.evaluation import evaluate
from interest_book.finetuning import LoRALinear, add_lora
from interest_book.interactions import DomainPair, Interactions
from interest_book.language_model import (CausalLM, TextNetwork, TunedText, Words, _AmongNew, _held_out_pairs, _matched_texts, _portrait_tokens, _text_pairs, causal_mask, cold_items_split, corrupt_spans, generate,
                                          history_text, info_nce, next_token_loss, portrait_sentences, tune_encoder, write_portraits)
from interest_book.nonlinear_mapping import Schedule
from interest_book.splits import cold_start_split
from interest_book.text import ItemTexts
from interest_book.training import seeded, train
from interest_book.worlds import make_world

quick = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 10_000)
def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_language_model/{name}", seed).standard_normal(shape))
def line(n=2, t=9, seed=0): return torch.randint(4, 20, (n, t), generator=torch_rng("test_language_model/line", seed))


class TestWords:
    def test_round_trip_and_unknown_words(self):
        w = Words(["a rocket and a kiss", "kiss"])
        rows = w.encode(["kiss and rocket", "a"])
        assert rows.shape == (2, 5) and rows[1].tolist()[2:] == [2, 0, 0] and (rows[:, 0] == 1).all()
        assert w.decode(rows[0]) == "kiss and rocket" and len(w) == 8
        assert w.encode(["zebra"])[0].tolist() == [1, 3, 2] and w.encode([]).shape[0] == 0

    def test_same_vocabulary_whatever_the_order(self):
        assert Words(["b a", "c"]).words == Words(["c", "a", "b"]).words


class TestCausalLM:
    @quick
    @given(seeds)
    def test_what_comes_later_changes_nothing_before(self, seed):
        model, a = CausalLM(20, 16, 2, 2, seed=seed).eval(), line(seed=seed)
        b = a.clone(); b[:, 5:] = line(t=4, seed=seed + 1)
        torch.testing.assert_close(model(a)[:, :5], model(b)[:, :5])

    def test_the_open_mask_does_read_ahead(self):
        model, a = CausalLM(20, 16, 1, 2).eval(), line()
        b = a.clone(); b[:, -1] = (b[:, -1] - 3) % 16 + 4
        assert not torch.allclose(model(a, torch.ones(9, 9, dtype=torch.bool))[:, 0], model(b, torch.ones(9, 9, dtype=torch.bool))[:, 0])

    def test_mask_is_lower_triangular(self): assert torch.equal(causal_mask(4), torch.tensor(np.tri(4, dtype=bool)))

    def test_same_seed_same_model_and_global_stream_untouched(self):
        before = torch.random.get_rng_state()
        a, b, c = CausalLM(20, 16, seed=1), CausalLM(20, 16, seed=1), CausalLM(20, 16, seed=2)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(a.words.weight, b.words.weight) and not torch.equal(a.words.weight, c.words.weight)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="multiple of heads"): CausalLM(20, width=10, heads=4)
        with pytest.raises(ShapeError, match="context of 4"): CausalLM(20, 16, 1, 2, context=4)(line())

    def test_it_learns_a_chain_to_its_entropy_rate(self):
        "Each word is followed by one of two words, alike in probability: the best loss is log 2."
        g, rows = torch_rng("test_language_model/chain"), [torch.randint(0, 8, (600, 1), generator=torch_rng("test_language_model/first"))]
        for _ in range(7): rows.append((2 * rows[-1] + torch.randint(0, 2, (600, 1), generator=g)) % 8)
        tokens = torch.cat(rows, 1) + 4
        model = CausalLM(12, 16, 1, 2, context=8)
        train(model, next_token_loss, [tokens[:500]], epochs=20, batch_size=50, lr=1e-2, progress=False)
        with torch.no_grad(): loss = float(next_token_loss(model, tokens[500:]))
        assert math.log(2) - 0.02 < loss < math.log(2) + 0.08


class TestLoss:
    def test_is_a_loop_over_words_and_leaves_the_filling_out(self):
        model, tokens = CausalLM(20, 16, 1, 2).eval(), line()
        tokens[0, 6:] = 0
        with torch.no_grad():
            slow = [-float(model(tokens[n:n + 1, :t]).log_softmax(-1)[0, -1, tokens[n, t]]) for n in range(2) for t in range(1, 9) if tokens[n, t] > 0]
            assert float(next_token_loss(model, tokens)) == pytest.approx(np.mean(slow), rel=1e-4)
            counted = torch.zeros(2, 9); counted[1, 3] = 2.0; counted[1, 0] = 5.0        # the first word is nobody's answer
            assert float(next_token_loss(model, tokens, counted)) == pytest.approx(-float(model(tokens[1:, :3]).log_softmax(-1)[0, -1, tokens[1, 3]]), rel=1e-4)

    def test_bad_weights(self):
        model = CausalLM(20, 16, 1, 2)
        with pytest.raises(ShapeError, match="counted"): next_token_loss(model, line(), torch.ones(2, 8))
        with pytest.raises(DataError, match="no word is counted"): next_token_loss(model, line(), torch.zeros(2, 9))


class TestGenerate:
    def test_limits_of_the_temperature(self):
        model, start = CausalLM(20, 16, 1, 2).eval(), line(t=3)
        greedy = generate(model, start, 4, temperature=0.0)
        assert greedy.shape == (2, 7) and torch.equal(greedy[:, :3], start)
        for t in range(3, 7): assert torch.equal(greedy[:, t], model(greedy[:, :t])[:, -1].argmax(1))
        assert torch.equal(generate(model, start, 4, 1.0, seed=3), generate(model, start, 4, 1.0, seed=3))
        even = generate(model, start[:1].expand(3000, -1), 1, temperature=1e6)[:, -1]
        assert np.bincount(even, minlength=20).min() > 3000 / 20 - 5 * math.sqrt(3000 / 20)
        with pytest.raises(ValueError, match="temperature"): generate(model, start, 1, temperature=-1.0)


class TestPortraits:
    @quick
    @given(seeds)
    def test_the_sentence_follows_from_the_history(self, seed):
        from collections import Counter
        from interest_book.worlds import topic_words
        kinds = dict(zip("space village crime wedding war kitchen sea desert".split(), topic_words(4)))
        for prompt, portrait in portrait_sentences(5, seed).itertuples(index=False):
            name, _, *history, _ = prompt.split()
            counts = Counter(next(k for k, w in kinds.items() if x in w) for x in history).most_common(3)
            assert portrait.startswith(f"{name} likes {counts[0][0]} most , {counts[0][1]} of 8 , then {counts[1][0]} , {counts[1][1]} of 8 .")
            assert len(counts) < 3 or counts[2][1] < counts[1][1] < counts[0][1]

    def test_answer_words_and_judgement(self):
        table = portrait_sentences(4, 1)
        words = Words(table.prompt + " " + table.portrait)
        tokens, answer = _portrait_tokens(table, words)
        assert [words.decode(r[a]) for r, a in zip(tokens, answer)] == table.portrait.tolist()
        class Parrot(torch.nn.Module):
            "Writes the right sentence of whoever is asked for, or with `twist` another number."
            def __init__(self, twist): super().__init__(); self.twist = twist
            def forward(self, seen):
                full = torch.stack([tokens[next(i for i in range(4) if torch.equal(tokens[i, :11], row[:11]))] for row in seen])
                out = F.one_hot(torch.cat([full[:, 1:], full[:, -1:]], 1), len(words)).float()[:, :seen.shape[1]]
                if self.twist and seen.shape[1] == 16: out = out.roll(1, -1)
                return out
        right = write_portraits(Parrot(False), words, table)
        assert right.form.all() and right.facts.all()
        assert not write_portraits(Parrot(True), words, table).facts.any()


class TestSpans:
    @quick
    @given(seeds)
    def test_nothing_is_lost(self, seed):
        g = rng("test_language_model/spans", seed)
        words = [f"w{i}" for i in range(12)]
        cuts = np.sort(g.choice(13, 4, replace=False))
        if cuts[1] == cuts[2]: return
        text, answer = corrupt_spans(words, [(int(cuts[0]), int(cuts[1])), (int(cuts[2]), int(cuts[3]))])
        filled, mark = {}, None
        for w in answer:
            if w.startswith("<"): mark = w; filled[mark] = []
            else: filled[mark].append(w)
        assert [x for w in text for x in filled.get(w, [w])] == words

    @pytest.mark.parametrize("spans", [[(1, 1)], [(2, 4), (3, 5)], [(2, 4), (4, 5)], [(3, 9)], [(-1, 2)], [(4, 5), (1, 2)]])
    def test_bad_spans(self, spans):
        with pytest.raises(ValueError, match="spans must be"): corrupt_spans(list("abcdef"), spans)


class TestInfoNCE:
    @quick
    @given(seeds, st.integers(2, 9))
    def test_loops_copies_and_correction(self, seed, n):
        f, share, items = draw(n, n, seed=seed), torch.rand(n, generator=torch_rng("test_language_model/share", seed)).double().log(), torch.randint(0, 4, (n,), generator=torch_rng("test_language_model/items", seed))
        slow = []
        for a in range(n):
            rows = [b for b in range(n) if b == a or items[b] != items[a]]
            slow.append(-math.log(math.exp(f[a, a] - share[a]) / sum(math.exp(f[a, b] - share[b]) for b in rows)))
        assert float(info_nce(f, share, items)) == pytest.approx(np.mean(slow))
        assert float(info_nce(f)) == pytest.approx(float(F.cross_entropy(f, torch.arange(n))))

    def test_never_certifies_more_than_log_n_or_the_information(self):
        for m, n in ((2, 16), (50, 16)):
            kinds = torch.from_numpy(rng("test_language_model/kinds").integers(0, m, (300, n)))
            certified = math.log(n) - float(torch.stack([info_nce(50.0 * (k[:, None] == k)) for k in kinds]).mean())
            assert certified < min(math.log(n), math.log(m)) + 0.01

    def test_two_columns_of_one_item_say_nothing(self):
        "A copy of the own item is no negative: with it taken out nothing is left to tell apart, and no gradient."
        f = draw(2, 2).requires_grad_()
        loss = info_nce(f, items=torch.tensor([3, 3]))
        loss.backward()
        assert float(loss.detach()) == 0 and not f.grad.any() and float(info_nce(f.detach())) > 0

    def test_bad_shapes(self):
        with pytest.raises(ShapeError, match="scores"): info_nce(draw(3, 4))
        with pytest.raises(ShapeError, match="log_share"): info_nce(draw(3, 3), torch.zeros(2))
        with pytest.raises(ShapeError, match="items"): info_nce(draw(3, 3), items=torch.zeros(4))


class TestHistory:
    def test_latest_first(self):
        assert history_text(["a", "b", "c"], 2) == "c ; b" and history_text([]) == ""
        with pytest.raises(ValueError, match="most"): history_text(["a"], 0)


def world(relation="linear", seed=0):
    w = make_world(n_users=200, n_source_items=60, n_target_items=50, relation=relation, seed=seed)
    return w, ItemTexts.from_frame(w.item_texts)
def ndcg(model, split): return float(evaluate(model, split, ("ndcg@10",)).summary().iloc[0])


class TestTunedText:
    def test_zero_epochs_are_frozen_retrieval(self):
        w, texts = world()
        split = cold_start_split(w.pair, seed=0)
        model = TunedText(texts, epochs=0, popularity=0.0).fit(split.train)
        cold = split.test_users[:5]
        x, y = model.vectors_, model.catalogue_
        mean = torch.from_numpy(np.asarray(split.train.source.matrix("binary")[split.train.source.user_index(cold)] @ x.numpy()))
        torch.testing.assert_close(model.score(cold), 10 * F.normalize(mean) @ y.T, rtol=1e-4, atol=1e-5)
        assert model.report_["trainable"] == 0

    def test_tuning_pays_where_domains_are_related_and_the_correction_is_one_unit_of_popularity(self):
        "(20.15) and (20.16): corrected with beta, and not corrected with beta + 1, are two trainings that rank alike; at the same beta they do not."
        found = []
        for seed in range(3):
            w, texts = world(seed=seed)
            split = cold_start_split(w.pair, seed=seed)
            settings = {"frozen": dict(epochs=0), "corrected 0": dict(popularity=0.0), "plain 1": dict(correct=False), "corrected 1": {}, "plain 2": dict(correct=False, popularity=2.0)}
            found.append({k: ndcg(TunedText(texts, factors=32, **{"epochs": 8, "lr": 3e-3} | s).fit(split.train), split) for k, s in settings.items()})
        found = pd.DataFrame(found).mean()
        assert found["corrected 1"] > found["frozen"] + 0.01
        gaps = abs(found["corrected 0"] - found["plain 1"]), abs(found["corrected 1"] - found["plain 2"])
        assert max(gaps) < 0.5 * (found["corrected 1"] - found["plain 1"])

    def test_new_items_are_found_by_their_texts(self):
        w, texts = world(seed=2)
        split = cold_items_split(w.pair, seed=1)
        new = np.asarray(split.train.target.matrix("binary").sum(0)).ravel() == 0
        tuned, floor = (ndcg(_AmongNew(m.fit(split.train), new), split) for m in (TunedText(texts, factors=32, epochs=8, lr=3e-3), Popularity()))
        assert tuned > floor + 0.05

    def test_rows_of_the_target_do_not_move_a_head_that_learns_on_the_source(self):
        w, texts = world()
        half = DomainPair(w.pair.source, w.pair.target.rows(np.arange(len(w.pair.target)) % 2 == 0))
        one, two = (TunedText(texts, factors=16, learn="source", epochs=2).fit(p) for p in (w.pair, half))
        assert torch.equal(one.heads_, two.heads_) and not torch.equal(one.share_, two.share_)

    def test_an_item_is_not_its_own_evidence(self):
        "With single-item histories nothing is left of the own rows, so the own matrix never gets a gradient."
        f = pd.DataFrame({"user_id": [f"u{i}" for i in range(40)], "item_id": [f"b{i % 5}" for i in range(40)]})
        s = f.assign(item_id="a" + f.item_id.str[1:])
        pair = DomainPair(Interactions.from_frame(s, name="films"), Interactions.from_frame(f, name="books"))
        model = TunedText(factors=4, epochs=3, lr=1e-2).fit(pair)
        torch.testing.assert_close(model.heads_[1], torch.eye(len(model.heads_[1])))

    def test_a_stranger_without_rows_gets_popularity(self):
        w, texts = world()
        model = TunedText(texts, factors=16, epochs=1).fit(w.pair)
        torch.testing.assert_close(model.score_history(sp.csr_array((1, 50)))[0], model.share_)

    @pytest.mark.parametrize("bad, what", [({"learn": "both"}, "learn"), ({"temperature": 0.0}, "temperature"), ({"popularity": -1.0}, "popularity"), ({"epochs": -1}, "epochs"), ({"lr": 0.0}, "lr"), ({"factors": 0}, "factors")])
    def test_bad_settings(self, bad, what):
        with pytest.raises(ValueError, match=what): TunedText(**bad)

    def test_bad_texts(self):
        with pytest.raises(DataError, match="texts"): TunedText(texts=["a"])
        w, texts = world()
        with pytest.raises(DataError, match="rows of the source"): TunedText(texts, learn="source").fit(DomainPair.single(w.pair.target))


class TestColdItems:
    @quick
    @given(seeds)
    def test_items_are_whole_and_rows_are_conserved(self, seed):
        pair = world()[0].pair
        split = cold_items_split(pair, 0.2, 0.1, seed)
        parts = [set(p.item_codes) for p in (split.train.target, split.valid, split.test)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert len(split.train.target) + len(split.valid) + len(split.test) == len(pair.target)
        assert split.fingerprint == cold_items_split(pair, 0.2, 0.1, seed).fingerprint

    def test_shares(self):
        with pytest.raises(ValueError, match="shares"): cold_items_split(world()[0].pair, test=0.0)


class FakeEncoder:
    "A tiny encoder with random weights and a tokenizer of letters."
    def __init__(self):
        transformers = pytest.importorskip("transformers")
        with seeded("test_language_model/tiny"):
            self.model = transformers.BertModel(transformers.BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).eval()
        self.dim = 16
    def tokenizer(self, texts, padding, truncation, max_length, return_tensors):
        ids = torch.zeros(len(texts), max_length, dtype=torch.long)
        for i, t in enumerate(texts): codes = [ord(c) % 59 + 1 for c in t][:max_length]; ids[i, :len(codes)] = torch.tensor(codes)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class TestEncoder:
    left, right = [f"{c}{d}" for c in "abcdefgh" for d in "xyz"], [f"{c.upper()}{d}" for c in "abcdefgh" for d in "uvw"]

    def test_starts_as_the_encoder_and_padding_has_no_say(self):
        net = TextNetwork(FakeEncoder())
        one, many = net.encode(["ab"]), net.encode(["abcdefgh", "ab"])
        torch.testing.assert_close(one[0], many[1], rtol=1e-4, atol=1e-5)
        ids, mask = net.tokens(["ab"], 2)
        with torch.no_grad(): hidden = net.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)
        torch.testing.assert_close(one, F.normalize(hidden), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("strategy, inside", [("head", False), ("lora", True), ("adapter", True), ("full", True)])
    def test_every_strategy_lowers_the_loss_and_moves_what_it_may(self, strategy, inside):
        net = TextNetwork(FakeEncoder())
        before = {k: v.clone() for k, v in net.state_dict().items()}
        loss = lambda: float(info_nce(net.encode(self.left) @ net.encode(self.right).T / 0.05))
        first = loss()
        report = tune_encoder(net, self.left, self.right, strategy, Schedule(12, 12, 5e-3, 0.0, 2), rank=2, width=4, most=4)
        assert loss() < first - 0.05 and 0 < report.trainable < report.total + (strategy == "full")
        moved = {k for k, v in net.state_dict().items() if k not in before or not torch.equal(v, before[k])}
        assert any(k.startswith("head") for k in moved) and any(k.startswith("encoder") for k in moved) == inside
        if strategy == "lora": assert all(k.startswith("head") or ".query." in k or ".value." in k for k in moved) and not any(isinstance(m, LoRALinear) for m in net.modules())

    def test_lora_is_the_library_s(self):
        peft = pytest.importorskip("peft")
        theirs = peft.get_peft_model(FakeEncoder().model, peft.LoraConfig(r=3, lora_alpha=5, target_modules=["query", "value"], lora_dropout=0.0))
        ours = add_lora(FakeEncoder().model, rank=3, alpha=5, layers=["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.value"])
        layers = [m for m in ours.modules() if isinstance(m, LoRALinear)]
        for layer, start in zip(layers, [p for n, p in theirs.named_parameters() if "lora_A" in n], strict=True): layer.down.data = start.detach().clone()
        ids = torch.randint(1, 60, (6, 5), generator=torch_rng("test_language_model/ids"))
        def after(model, params):
            optimizer = torch.optim.AdamW(params, lr=0.03, weight_decay=0.0)
            for _ in range(8):
                v = F.normalize(model(input_ids=ids).last_hidden_state.mean(1), dim=1)
                optimizer.zero_grad(); info_nce(v[:3] @ v[3:].T / 0.1).backward(); optimizer.step()
            return model(input_ids=ids).last_hidden_state.detach()
        a, b = after(theirs.train(), [p for p in theirs.parameters() if p.requires_grad]), after(ours.train(), [p for m in layers for p in (m.down, m.up)])
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert (b - FakeEncoder().model.train()(input_ids=ids).last_hidden_state).abs().max() > 0.01

    def test_bad_input(self):
        net = TextNetwork(FakeEncoder())
        with pytest.raises(ValueError, match="strategy"): tune_encoder(net, ["a", "b"], ["c", "d"], "everything")
        with pytest.raises(ShapeError, match="left has 2"): tune_encoder(net, ["a", "b"], ["c"])
        with pytest.raises(DataError, match="no negatives"): tune_encoder(net, ["a"], ["c"])
        with pytest.raises(ValueError, match="temperature"): tune_encoder(net, ["a", "b"], ["c", "d"], temperature=0.0)


class TestRecordParts:
    def test_pairs_are_of_one_person_and_two_items(self):
        w, texts = world()
        rows, titles = w.pair.target, [f"book {i}" for i in range(w.pair.target.n_items)]
        left, right, share = _text_pairs(rows, titles, 60, 0)
        owned = [set(np.array(titles)[r.indices]) for r in (rows.matrix("binary")[[u]] for u in range(rows.n_users))]
        assert all(a != b and any({a, b} <= o for o in owned) for a, b in zip(left, right)) and (share < 0).all()
        a, b = _held_out_pairs(rows, titles, 12, 0)
        assert len(a) == len(b) and len({*a, *b}) == 2 * len(a)

    def test_matching(self):
        eye = {f"{side}{i}": torch.eye(20)[i] for side in "ab" for i in range(20)}
        found = _matched_texts(lambda part: torch.stack([eye[t] for t in part]), [f"a{i}" for i in range(20)], [f"b{i}" for i in range(20)])
        assert found["hit@1"] == 1.0 and found["nats"] == pytest.approx(math.log(20), abs=0.01)
        turned = _matched_texts(lambda part: torch.stack([eye[t] for t in part]), [f"a{i}" for i in range(20)], [f"b{(i + 1) % 20}" for i in range(20)])
        assert turned["hit@1"] == 0.0 and turned["nats"] < 0


def on(device, strategy, seed=0):
    "A tiny encoder, tuned for a few contrastive steps on a device: its vectors on the CPU, its parameters, its report."
    net = TextNetwork(FakeEncoder())
    net.to(device)
    report = tune_encoder(net, TestEncoder.left, TestEncoder.right, strategy, Schedule(2, 12, 5e-3, 0.0, 2), rank=2, width=4, most=4, log_share=torch.linspace(-4, -1, 24), seed=seed)
    assert all(p.device.type == torch.device(device).type for p in net.parameters())
    return net.encode(TestEncoder.left + TestEncoder.right), {k: v.cpu() for k, v in net.state_dict().items()}, report


@pytest.mark.gpu
class TestGPU:
    def test_the_causal_model_says_learns_and_writes_the_same(self):
        "Logits, loss, gradients, three steps of AdamW and what is then written with the most probable word."
        models, tokens = [CausalLM(20, 16, 2, 2, seed=4).to(d) for d in ("cpu", "cuda")], line(8, 9)
        tokens[0, 6:] = 0
        said = [m(tokens.to(m.norm.weight.device)) for m in models]
        assert said[1].device.type == "cuda"
        torch.testing.assert_close(said[1].cpu(), said[0], rtol=1e-4, atol=1e-5)
        for m in models:
            optimizer = torch.optim.AdamW(m.parameters(), lr=1e-2)
            for _ in range(3): optimizer.zero_grad(); next_token_loss(m, tokens.to(m.norm.weight.device)).backward(); optimizer.step()
        for p, q in zip(models[1].parameters(), models[0].parameters()): torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=1e-2, atol=1e-4)
        losses = [next_token_loss(m, tokens.to(m.norm.weight.device)).item() for m in models]
        assert losses[1] == pytest.approx(losses[0], rel=1e-3) and losses[0] < next_token_loss(CausalLM(20, 16, 2, 2, seed=4), tokens).item() - 0.05
        written = [generate(m, tokens[1:, :3].to(m.norm.weight.device), 5, temperature=0.0) for m in models]
        assert written[1].device.type == "cuda" and torch.equal(written[1].cpu(), written[0])

    def test_the_contrastive_loss_and_its_gradient(self):
        f, share, items = draw(30, 30, name="gpu").float(), torch.rand(30, generator=torch_rng("test_language_model/gpu")).log(), torch.arange(30) % 11
        found = []
        for device in ("cpu", "cuda"):
            x = f.clone().to(device).requires_grad_()
            loss = info_nce(x, share.to(device), items.to(device))
            loss.backward(); found.append((loss.detach().cpu(), x.grad.cpu()))
        for a, b in zip(*found): torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("strategy", ["head", "lora", "adapter", "full"])
    def test_contrastive_tuning_of_an_encoder(self, strategy):
        "Four steps from the same start on the same batches: the same vectors, and they moved."
        (a, weights, one), (b, others, two) = on("cpu", strategy), on("cuda", strategy)
        start = TextNetwork(FakeEncoder()).encode(TestEncoder.left + TestEncoder.right)
        assert (a - start).abs().max() > 0.01 and (one.trainable, one.total, one.epochs) == (two.trainable, two.total, two.epochs) and weights.keys() == others.keys()
        torch.testing.assert_close(b, a, rtol=1e-2, atol=2e-3)

    def test_a_head_tuned_on_people(self):
        w, texts = world()
        split = cold_start_split(w.pair, seed=0)
        one, two = (TunedText(texts, factors=16, epochs=2, device=d).fit(split.train) for d in ("cpu", "cuda"))
        assert two.heads_.device.type == two.score(split.test_users[:3]).device.type == "cuda"
        torch.testing.assert_close(two.heads_.cpu(), one.heads_)            # it is tuned on the CPU, whatever the device
        torch.testing.assert_close(two.score(split.test_users).cpu(), one.score(split.test_users), rtol=1e-3, atol=1e-3)


def test_the_library_imports_without_transformers():
    import subprocess
    code = "import sys; sys.modules['transformers'] = None; sys.modules['peft'] = None; import interest_book.language_model"
    subprocess.run([sys.executable, "-c", code], check=True)
