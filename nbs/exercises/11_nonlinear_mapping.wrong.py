"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% believe: a tensor comes back
# hint: .item() makes one
def my_share(correction, left):
    return ((correction * left).sum() / correction.square().sum().clamp_min(1e-12)).clamp(0, 1)
# %% believe: negative shares
# hint: nothing below zero is believed
def my_share(correction, left):
    size = correction.square().sum().item()
    return min(1.0, (correction * left).sum().item() / size) if size else 0.0
# %% believe: more than everything
# hint: cut at 1
def my_share(correction, left):
    size = correction.square().sum().item()
    return max(0.0, (correction * left).sum().item() / size) if size else 0.0
# %% believe: zero over zero
# hint: 0 over 0
def my_share(correction, left):
    value = ((correction * left).sum() / correction.square().sum()).item()
    return min(1.0, max(0.0, value)) if value == value else 1.0
# %% believe: the correlation
# hint: not the least-squares share
def my_share(correction, left):
    size = (correction.square().sum() * left.square().sum()).sqrt().item()
    if size == 0: return 0.0
    r = (correction * left).sum().item() / size
    ratio = (left.norm() / correction.norm()).item()
    return min(1.0, max(0.0, r * min(ratio, 1.0) if abs(r) > 0.99 else r))
# %% attend: not scaled
# hint: not divided by the root of h
def my_attention(query, keys, values, mask):
    logits = (query[:, None] * keys).sum(2).masked_fill(~mask, -torch.inf)
    return (torch.softmax(logits, 1)[:, :, None] * values).sum(1)
# %% attend: no mask
# hint: the mask is not used
def my_attention(query, keys, values, mask):
    logits = (query[:, None] * keys).sum(2) / keys.shape[2] ** 0.5
    return (torch.softmax(logits, 1)[:, :, None] * values).sum(1)
# %% attend: mask after the softmax
# hint: the mask belongs inside the softmax
def my_attention(query, keys, values, mask):
    logits = (query[:, None] * keys).sum(2) / keys.shape[2] ** 0.5
    return ((torch.softmax(logits, 1) * mask)[:, :, None] * values).sum(1)
# %% attend: absent means a logit of zero
# hint: minus infinity is
def my_attention(query, keys, values, mask):
    logits = ((query[:, None] * keys).sum(2) / keys.shape[2] ** 0.5) * mask
    return (torch.softmax(logits, 1)[:, :, None] * (values * mask[:, :, None])).sum(1)
# %% attend: NaN for empty histories
# hint: an empty history gives NaN
def my_attention(query, keys, values, mask):
    logits = ((query[:, None] * keys).sum(2) / keys.shape[2] ** 0.5).masked_fill(~mask, -torch.inf)
    return (torch.softmax(logits, 1)[:, :, None] * values).sum(1)
# %% attend: overflow
# hint: subtract the largest logit
def my_attention(query, keys, values, mask):
    weights = torch.exp((query[:, None] * keys).sum(2) / keys.shape[2] ** 0.5) * mask
    total = weights.sum(1, keepdim=True)
    return ((weights / torch.where(total > 0, total, 1.0))[:, :, None] * values).sum(1)
# %% bridge_table: interests and contexts interchanged
# hint: interests and contexts are interchanged
def my_table(source, context, target):
    products = (source[:, :, None] * context[:, None, :]).flatten(1)
    solution = torch.linalg.lstsq(products, target).solution
    return solution.T.reshape(target.shape[1], context.shape[1], source.shape[1]).mT
# %% bridge_table: transposed
# hint: expected (targets, interests, contexts)
def my_table(source, context, target):
    products = (source[:, :, None] * context[:, None, :]).flatten(1)
    return torch.linalg.lstsq(products, target).solution.reshape(source.shape[1], context.shape[1], target.shape[1])
# %% bridge_table: side by side instead of multiplied
# hint: this regression adds interests and contexts
def my_table(source, context, target):
    solution = torch.linalg.lstsq(torch.cat([source, context], 1), target).solution
    table = torch.zeros(target.shape[1], source.shape[1], context.shape[1], dtype=source.dtype)
    table[:, :, 0] = solution[: source.shape[1]].T
    return table
# %% bridge_table: a penalty of its own
# hint: the table is not recovered
def my_table(source, context, target):
    p = (source[:, :, None] * context[:, None, :]).flatten(1)
    solution = torch.linalg.solve(p.T @ p + torch.eye(p.shape[1], dtype=p.dtype), p.T @ target)
    return solution.T.reshape(target.shape[1], source.shape[1], context.shape[1])
# %% gate: weighs the mapped part
# hint: the gate weighs the mapped part
def my_gate(mapped, own, count, kappa):
    weight = count / (count + kappa)
    return weight[:, None] * mapped + (1 - weight)[:, None] * own
# %% gate: over factors instead of users
# hint: needs another axis
def my_gate(mapped, own, count, kappa):
    weight = count / (count + kappa)
    blend = weight * own + (1 - weight) * mapped
    return blend
# %% gate: kappa on the wrong scale
# hint: both parts count the same
def my_gate(mapped, own, count, kappa):
    weight = torch.sigmoid(count - kappa * 2)
    return weight[:, None] * own + (1 - weight)[:, None] * mapped
# %% gate: log of zero
# hint: users without own rows give NaN
def my_gate(mapped, own, count, kappa):
    ratio = torch.exp(count.log() - torch.log(torch.tensor(float(kappa))))
    weight = 1 / (1 + 1 / ratio) * (ratio / ratio)
    return weight[:, None] * own + (1 - weight)[:, None] * mapped
# %% gate: at least one row for everybody
# hint: must get exactly the mapped interests
def my_gate(mapped, own, count, kappa):
    weight = count.clamp_min(1) / (count.clamp_min(1) + kappa)
    return weight[:, None] * own + (1 - weight)[:, None] * mapped
