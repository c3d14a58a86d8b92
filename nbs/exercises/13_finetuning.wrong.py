"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% stopped: the exponential
# hint: this is the penalty of the gradient flow
def my_penalty(H, rate, steps):
    return H @ torch.linalg.inv(torch.matrix_exp(rate * steps * H) - torch.eye(len(H), dtype=H.dtype))
# %% stopped: one number for all
# hint: is L2-SP, which is an approximation
def my_penalty(H, rate, steps):
    return torch.eye(len(H), dtype=H.dtype) / (rate * steps)
# %% stopped: the sign of the exponent
# hint: is not where twelve steps end
def my_penalty(H, rate, steps):
    h, vectors = torch.linalg.eigh(H)
    return vectors @ torch.diag(h / (1 - (1 - rate * h) ** float(steps))) @ vectors.T
# %% stopped: zero over zero
# hint: a flat direction gives 0 over 0
def my_penalty(H, rate, steps):
    h, vectors = torch.linalg.eigh(H)
    if (rate * h >= 1).any(): raise ValueError("overshoots")
    return vectors @ torch.diag(h / ((1 - rate * h) ** -float(steps) - 1)) @ vectors.T
# %% stopped: flat directions without a penalty
# hint: the limit of (13.7) in a flat direction is
def my_penalty(H, rate, steps):
    h, vectors = torch.linalg.eigh(H)
    if (rate * h >= 1).any(): raise ValueError("overshoots")
    grown = (1 - rate * h) ** -float(steps) - 1
    return vectors @ torch.diag(torch.where(h > 1e-9, h / torch.where(h > 1e-9, grown, 1.0), 0.0)) @ vectors.T
# %% stopped: overshooting goes through
# hint: (13.7) asks for rate times h below 1
def my_penalty(H, rate, steps):
    h, vectors = torch.linalg.eigh(H)
    grown = (1 - rate * h) ** -float(steps) - 1
    return vectors @ torch.diag(torch.where(h > 1e-9, h / torch.where(h > 1e-9, grown, 1.0), 1 / (rate * steps))) @ vectors.T
# %% dose: standard deviation for variance
# hint: the variance is its square
def my_dose(n, n_s, d, sigma, delta2):
    own, old = d * sigma / n, delta2 + d * sigma / n_s
    best = own / (own + old)
    return best, 2 * best, n_s / (n + n_s) < 2 * best
# %% dose: a source without noise
# hint: the source's own noise is missing
def my_dose(n, n_s, d, sigma, delta2):
    own = d * sigma**2 / n
    best = own / (own + delta2)
    return best, 2 * best, n_s / (n + n_s) < 2 * best
# %% dose: the weight of the target
# hint: the risk (13.10) is smallest at
def my_dose(n, n_s, d, sigma, delta2):
    own, old = d * sigma**2 / n, delta2 + d * sigma**2 / n_s
    best = old / (own + old)
    return best, 2 * best, n_s / (n + n_s) < 2 * best
# %% dose: break-even at the best weight
# hint: a parabola is symmetric about its vertex
def my_dose(n, n_s, d, sigma, delta2):
    own, old = d * sigma**2 / n, delta2 + d * sigma**2 / n_s
    best = own / (own + old)
    return best, best, n_s / (n + n_s) < 2 * best
# %% dose: pooling at one half
# hint: pooling weighs the source by its number of rows
def my_dose(n, n_s, d, sigma, delta2):
    own, old = d * sigma**2 / n, delta2 + d * sigma**2 / n_s
    best = own / (own + old)
    return best, 2 * best, 0.5 < 2 * best
# %% information: the whole batch
# hint: the mean of the squares, row by row
def my_fisher(net, loss, x, y):
    return [g.square() for g in torch.autograd.grad(loss(net, x, y), list(net.parameters()))]
# %% information: not squared
# hint: they have to be squared
def my_fisher(net, loss, x, y):
    return list(torch.autograd.grad(loss(net, x, y), list(net.parameters())))
# %% information: the sum
# hint: (13.16) is their mean
def my_fisher(net, loss, x, y):
    params = list(net.parameters())
    out = [torch.zeros_like(p) for p in params]
    for i in range(len(x)):
        for total, g in zip(out, torch.autograd.grad(loss(net, x[i:i + 1], y[i:i + 1]), params)): total += g.square()
    return out
# %% information: only the weights
# hint: one tensor for each parameter
def my_fisher(net, loss, x, y):
    out = torch.zeros_like(net.weight)
    for i in range(len(x)): out += torch.autograd.grad(loss(net, x[i:i + 1], y[i:i + 1]), net.weight)[0].square() / len(x)
    return [out]
# %% information: gradients left behind
# hint: the parameters carry gradients now
def my_fisher(net, loss, x, y):
    out = [torch.zeros_like(p) for p in net.parameters()]
    for i in range(len(x)):
        net.zero_grad()
        loss(net, x[i:i + 1], y[i:i + 1]).backward()
        for total, p in zip(out, net.parameters()): total += p.grad.square() / len(x)
    return out
# %% low_rank: blind to the inputs
# hint: multiply by the root of the covariance first
def my_change(W_0, W_star, covariance, rank):
    u, s, vh = torch.linalg.svd(W_star - W_0, full_matrices=False)
    return u[:, :rank] * s[:rank], vh[:rank]
# %% low_rank: not undone
# hint: undo it on the right
def my_change(W_0, W_star, covariance, rank):
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    u, s, vh = torch.linalg.svd((W_star - W_0) @ root, full_matrices=False)
    return u[:, :rank] * s[:rank], vh[:rank]
# %% low_rank: covariance instead of its root
# hint: you used the covariance where its root belongs
def my_change(W_0, W_star, covariance, rank):
    u, s, vh = torch.linalg.svd((W_star - W_0) @ covariance, full_matrices=False)
    return u[:, :rank] * s[:rank], vh[:rank] @ torch.linalg.inv(covariance)
# %% low_rank: the smallest singular values
# hint: larger than the singular values that were left out
def my_change(W_0, W_star, covariance, rank):
    values, vectors = torch.linalg.eigh(covariance)
    root, back = (vectors @ torch.diag(values ** p) @ vectors.T for p in (0.5, -0.5))
    u, s, vh = torch.linalg.svd((W_star - W_0) @ root, full_matrices=False)
    return u[:, -rank:] * s[-rank:], vh[-rank:] @ back
# %% low_rank: axes interchanged
# hint: expected (6, 2) and (2, 5)
def my_change(W_0, W_star, covariance, rank):
    values, vectors = torch.linalg.eigh(covariance)
    root, back = (vectors @ torch.diag(values ** p) @ vectors.T for p in (0.5, -0.5))
    u, s, vh = torch.linalg.svd((W_star - W_0) @ root, full_matrices=False)
    return (vh[:rank] @ back).T, (u[:, :rank] * s[:rank]).T
