"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% answer-loss: not shifted
# hint: logits were compared with the word they stand on
def my_answer_loss(logits, tokens, counted):
    each = -np.log(np.take_along_axis(softmax(logits), tokens[..., None], -1)[..., 0])
    return (each * counted).sum() / counted.sum()
# %% answer-loss: every word
# hint: every word counts here
def my_answer_loss(logits, tokens, counted):
    return -np.log(np.take_along_axis(softmax(logits[:, :-1]), tokens[:, 1:, None], -1)).mean()
# %% answer-loss: mean over all
# hint: divided by the number of all words
def my_answer_loss(logits, tokens, counted):
    return (-np.log(np.take_along_axis(softmax(logits[:, :-1]), tokens[:, 1:, None], -1)[..., 0]) * counted[:, 1:]).mean()
# %% answer-loss: weights off by one
# hint: the weights are one place off
def my_answer_loss(logits, tokens, counted):
    each = -np.log(np.take_along_axis(softmax(logits[:, :-1]), tokens[:, 1:, None], -1)[..., 0])
    return (each * counted[:, :-1]).sum() / counted[:, :-1].sum()
# %% answer-loss: overflow
# hint: large logits overflow
def my_answer_loss(logits, tokens, counted):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    each = -np.log(np.take_along_axis(p[:, :-1], tokens[:, 1:, None], -1)[..., 0])
    return (each * counted[:, 1:]).sum() / counted[:, 1:].sum()
# %% causal-attention: open
# hint: every place reads every other
def my_causal_attention(q, k, v): return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v
# %% causal-attention: masked too late
# hint: masked after the softmax
def my_causal_attention(q, k, v): return (softmax(q @ k.T / np.sqrt(q.shape[1])) * np.tri(len(q))) @ v
# %% causal-attention: zero score
# hint: a score of zero is not a weight of zero
def my_causal_attention(q, k, v): return softmax(q @ k.T / np.sqrt(q.shape[1]) * np.tri(len(q))) @ v
# %% causal-attention: no root
# hint: the scores were not divided by the root
def my_causal_attention(q, k, v): return softmax(np.where(np.tri(len(q)) > 0, q @ k.T, -np.inf)) @ v
# %% causal-attention: turned
# hint: the mask is turned
def my_causal_attention(q, k, v): return softmax(np.where(np.tri(len(q)).T > 0, q @ k.T / np.sqrt(q.shape[1]), -np.inf)) @ v
# %% corrected-contrast: no correction
# hint: nothing was corrected
def my_contrast(scores, share, items):
    z = np.where((items[:, None] == items) & ~np.eye(len(items), dtype=bool), -np.inf, scores)
    return np.mean(np.log(np.exp(z).sum(1)) - np.diag(z))
# %% corrected-contrast: copies stay
# hint: copies of a row's own item are its negatives
def my_contrast(scores, share, items):
    z = scores - np.log(share)
    return np.mean(np.log(np.exp(z).sum(1)) - np.diag(z))
# %% corrected-contrast: sign
# hint: the log share was added
def my_contrast(scores, share, items):
    z = np.where((items[:, None] == items) & ~np.eye(len(items), dtype=bool), -np.inf, scores + np.log(share))
    return np.mean(np.log(np.exp(z).sum(1)) - np.diag(z))
# %% corrected-contrast: along the rows, where it cancels
# hint: a number that is the same along a row cancels
def my_contrast(scores, share, items):
    z = np.where((items[:, None] == items) & ~np.eye(len(items), dtype=bool), -np.inf, scores - np.log(share)[:, None])
    return np.mean(np.log(np.exp(z).sum(1)) - np.diag(z))
# %% corrected-contrast: share
# hint: the share itself was subtracted
def my_contrast(scores, share, items):
    z = np.where((items[:, None] == items) & ~np.eye(len(items), dtype=bool), -np.inf, scores - share)
    return np.mean(np.log(np.exp(z).sum(1)) - np.diag(z))
# %% corrected-contrast: over people
# hint: the softmax runs over people
def my_contrast(scores, share, items):
    z = np.where((items[:, None] == items) & ~np.eye(len(items), dtype=bool), -np.inf, scores - np.log(share))
    return np.mean(np.log(np.exp(z).sum(0)) - np.diag(z))
# %% profile-without: answer inside
# hint: the item that is asked for is still in the history
def my_profiles(rows, vectors, people, items):
    x = (rows @ vectors)[people]
    return x / np.linalg.norm(x, axis=1, keepdims=True)
# %% profile-without: length
# hint: the vectors do not have length one
def my_profiles(rows, vectors, people, items): return (rows @ vectors)[people] - vectors[items]
# %% profile-without: from the unit vector
# hint: the item was taken out of the vector of length one
def my_profiles(rows, vectors, people, items):
    x = rows @ vectors
    x = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))[people] - vectors[items]
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
# %% profile-without: nothing left
# hint: a person with a single item has nothing left
def my_profiles(rows, vectors, people, items):
    x = (rows @ vectors)[people] - vectors[items]
    with np.errstate(all="ignore"): return x / np.linalg.norm(x, axis=1, keepdims=True)
