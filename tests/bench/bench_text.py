"""Chapter 19, CPU-seconds: counted words beside scikit-learn's, titles through the encoder in three number formats, and from the cache. `python tests/bench/bench_text.py [TITLES]`."""
import os, sys, tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from clock import clock
from interest_book.core import rng
from interest_book.text import EncoderError, embed, load_encoder, speed_record, tfidf, translate_items
from interest_book.worlds import topic_words


if __name__ == "__main__":
    torch.set_num_threads(1)
    n, g, vocabulary = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, rng("bench/text"), np.concatenate(topic_words(8))
    texts = [" ".join(g.choice(vocabulary, 8)) for _ in range(10_000)]
    ours, (x, _) = clock(lambda: tfidf(texts))
    theirs, y = clock(lambda: TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(texts))
    print(f"TF-IDF of 10,000 texts: ours {ours:.2f} s, scikit-learn {theirs:.2f} s, ratio {ours / theirs:.2f}, largest difference {abs(x - y).max():.1e}")
    seconds, _ = clock(lambda: translate_items(x[:5000], x[5000:]), 1)
    print(f"translation of 5,000 items into 5,000: {seconds:.2f} s")
    try: encoder = load_encoder("packaged", device="cpu")
    except EncoderError as e: sys.exit(str(e))
    with tempfile.TemporaryDirectory() as folder:
        first, _ = clock(lambda: embed(texts[:n], encoder, folder), 1)
        again, _ = clock(lambda: embed(texts[:n], encoder, folder), 1)
    print(f"{n:,} texts of 8 words: {first:.1f} s, from the cache {again:.2f} s")
    try: record = speed_record(n)
    except OSError as e: sys.exit(f"titles of Book-Crossing: {e}")
    for r in record["results"]: print(f"{r['format']:<9} {r['titles per CPU second']:7.0f} titles a CPU second; cosine to float32: worst {r['worst cosine']:.4f}, mean {r['mean cosine']:.4f}")
