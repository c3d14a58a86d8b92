"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% risk_gradient: the 2 forgotten
# hint: factor 2
def my_gradient(p, q, users, items, y):
    return torch.zeros_like(p).index_add(0, users, (p[users] * q[items] - y) * q[items] / len(y))
# %% risk_gradient: downhill
# hint: the sign is wrong
def my_gradient(p, q, users, items, y):
    return torch.zeros_like(p).index_add(0, users, 2 / len(y) * (y - p[users] * q[items]) * q[items])
# %% risk_gradient: sum instead of mean
# hint: gradient of the sum
def my_gradient(p, q, users, items, y):
    return torch.zeros_like(p).index_add(0, users, 2 * (p[users] * q[items] - y) * q[items])
# %% risk_gradient: mean per user
# hint: each user's own number
def my_gradient(p, q, users, items, y):
    total = torch.zeros_like(p).index_add(0, users, 2 * (p[users] * q[items] - y) * q[items])
    return total / torch.bincount(users, minlength=len(p)).clamp(min=1)
# %% risk_gradient: assigned instead of added
# hint: must add up
def my_gradient(p, q, users, items, y):
    out = torch.zeros_like(p)
    out[users] = 2 / len(y) * (p[users] * q[items] - y) * q[items]
    return out
# %% adamw_step: no bias correction
# hint: need the bias correction
def my_adamw_step(theta, g, m, s, t, lr, decay):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return (1 - lr * decay) * theta - lr * m / (s.sqrt() + 1e-8), m, s
# %% adamw_step: corrected average kept
# hint: correct it only where it is used
def my_adamw_step(theta, g, m, s, t, lr, decay):
    m, s = (0.9 * m + 0.1 * g) / (1 - 0.9**t), 0.999 * s + 0.001 * g**2
    return (1 - lr * decay) * theta - lr * m / ((s / (1 - 0.999**t)).sqrt() + 1e-8), m, s
# %% adamw_step: absolute values instead of squares
# hint: how s is formed
def my_adamw_step(theta, g, m, s, t, lr, decay):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g.abs()
    return (1 - lr * decay) * theta - lr * m / (1 - 0.9**t) / (s / (1 - 0.999**t) + 1e-8), m, s
# %% adamw_step: penalty in the gradient
# hint: a penalty in the loss
def my_adamw_step(theta, g, m, s, t, lr, decay):
    g = g + decay * theta
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return theta - lr * m / (1 - 0.9**t) / ((s / (1 - 0.999**t)).sqrt() + 1e-8), m, s
# %% adamw_step: decay without the rate
# hint: multiplied by the learning rate
def my_adamw_step(theta, g, m, s, t, lr, decay):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return (1 - decay) * theta - lr * m / (1 - 0.9**t) / ((s / (1 - 0.999**t)).sqrt() + 1e-8), m, s
# %% warm_cosine: first step wasted
# hint: that step is wasted
def my_factor(step, total, warmup):
    if step < warmup: return step / warmup
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
# %% warm_cosine: cosine not moved up
# hint: moved up and halved
def my_factor(step, total, warmup):
    if step < warmup: return (step + 1) / warmup
    return math.cos(math.pi * (step - warmup) / (total - warmup))
# %% warm_cosine: counted from the start
# hint: count its steps from there
def my_factor(step, total, warmup):
    if step < warmup: return (step + 1) / warmup
    return (1 + math.cos(math.pi * step / total)) / 2
# %% warm_cosine: divided by all steps
# hint: the steps that are left
def my_factor(step, total, warmup):
    if step < warmup: return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / total)) / 2
# %% warm_cosine: a straight line
# hint: not half a cosine
def my_factor(step, total, warmup):
    if step < warmup: return (step + 1) / warmup
    return 1 - (step - warmup) / (total - warmup)
# %% adamw_step: in place
# hint: changed in place
def my_adamw_step(theta, g, m, s, t, lr, decay):
    m.mul_(0.9).add_(0.1 * g)
    s.mul_(0.999).add_(0.001 * g**2)
    return theta.mul_(1 - lr * decay).sub_(lr * m / (1 - 0.9**t) / ((s / (1 - 0.999**t)).sqrt() + 1e-8)), m, s
# %% clip_together: each tensor on its own
# hint: not of each tensor
def my_clip(gradients, longest):
    return [g * min(1.0, longest / g.norm().item()) for g in gradients]
# %% clip_together: number by number
# hint: one by one
def my_clip(gradients, longest):
    n = sum(g.numel() for g in gradients)
    return [g.clamp(-longest / n**0.5, longest / n**0.5) for g in gradients]
# %% clip_together: always to the limit
# hint: stretched to the limit
def my_clip(gradients, longest):
    length = torch.cat([g.flatten() for g in gradients]).norm()
    return [g * longest / length for g in gradients]
# %% clip_together: sum of absolute values
# hint: root of a sum of squares
def my_clip(gradients, longest):
    length = sum(g.abs().sum().item() for g in gradients)
    return [g * min(1.0, longest / length) for g in gradients]
# %% when_to_stop: looks into the future
# hint: was never run
def my_stop(errors, patience):
    best = min(range(len(errors)), key=errors.__getitem__) + 1
    return best, min(best + patience, len(errors))
# %% when_to_stop: keeps the last weights
# hint: not of the last one
def my_stop(errors, patience):
    best = 1
    for epoch, error in enumerate(errors, start=1):
        if error < errors[best - 1]: best = epoch
        if epoch - best >= patience: return epoch, epoch
    return len(errors), len(errors)
# %% when_to_stop: one epoch too many
# hint: training stops after epoch 5
def my_stop(errors, patience):
    best = 1
    for epoch, error in enumerate(errors, start=1):
        if error < errors[best - 1]: best = epoch
        if epoch - best > patience: return best, epoch
    return best, len(errors)
# %% when_to_stop: bad epochs are added up
# hint: starts again with each new best
def my_stop(errors, patience):
    best, bad = 1, 0
    for epoch, error in enumerate(errors, start=1):
        if error < errors[best - 1]: best = epoch
        elif epoch > 1: bad += 1
        if bad >= patience: return best, epoch
    return best, len(errors)
# %% when_to_stop: equal counts as better
# hint: an equal value is not better
def my_stop(errors, patience):
    best = 1
    for epoch, error in enumerate(errors, start=1):
        if error <= errors[best - 1]: best = epoch
        if epoch - best >= patience: return best, epoch
    return best, len(errors)
