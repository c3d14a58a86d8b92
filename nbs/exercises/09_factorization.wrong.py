"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% half-step: unrated as zero
# hint: treated as ratings of zero
def my_half_step(ratings, items, l2):
    return torch.nan_to_num(ratings) @ items @ torch.linalg.inv(items.T @ items + l2 * torch.eye(items.shape[1], dtype=items.dtype))
# %% half-step: penalty forgotten
# hint: l2 is not used
def my_half_step(ratings, items, l2):
    rated = [~torch.isnan(row) for row in ratings]
    return torch.stack([torch.linalg.pinv(items[m].T @ items[m]) @ (items[m].T @ row[m]) for m, row in zip(rated, ratings)])
# %% half-step: penalty times count
# hint: grew with the number of ratings
def my_half_step(ratings, items, l2):
    out = torch.zeros(len(ratings), items.shape[1], dtype=items.dtype)
    for u, row in enumerate(ratings):
        m = ~torch.isnan(row)
        if m.any(): out[u] = torch.linalg.solve(items[m].T @ items[m] + l2 * m.sum() * torch.eye(items.shape[1], dtype=items.dtype), items[m].T @ row[m])
    return out
# %% half-step: NaN in the sum
# hint: NaN came out
def my_half_step(ratings, items, l2):
    return ratings @ items @ torch.linalg.inv(items.T @ items + l2 * torch.eye(items.shape[1], dtype=items.dtype))
# %% implicit-row: blanks forgotten
# hint: the blanks have no say
def my_implicit_row(chosen, items, gram, alpha, l2):
    q = items[chosen]
    return torch.linalg.solve((1 + alpha) * q.T @ q + l2 * torch.eye(len(gram), dtype=items.dtype), (1 + alpha) * q.sum(0))
# %% implicit-row: choice counted twice
# hint: in the Gram matrix already
def my_implicit_row(chosen, items, gram, alpha, l2):
    q = items[chosen]
    return torch.linalg.solve(gram + (1 + alpha) * q.T @ q + l2 * torch.eye(len(gram), dtype=items.dtype), (1 + alpha) * q.sum(0))
# %% implicit-row: half a right side
# hint: on the right side a choice has its whole weight
def my_implicit_row(chosen, items, gram, alpha, l2):
    q = items[chosen]
    return torch.linalg.solve(gram + alpha * q.T @ q + l2 * torch.eye(len(gram), dtype=items.dtype), alpha * q.sum(0))
# %% implicit-row: penalty forgotten
# hint: not the minimiser over all cells
def my_implicit_row(chosen, items, gram, alpha, l2):
    q = items[chosen]
    return torch.linalg.solve(gram + alpha * q.T @ q, (1 + alpha) * q.sum(0))
# %% bpr-gradient: downhill
# hint: all signs are turned
def my_bpr_gradient(p, q_i, q_j):
    g = torch.sigmoid(p @ q_j - p @ q_i)
    return -g * (q_i - q_j), -g * p, g * p
# %% bpr-gradient: wrong side of the curve
# hint: large where the pair is right already
def my_bpr_gradient(p, q_i, q_j):
    g = torch.sigmoid(p @ q_i - p @ q_j)
    return g * (q_i - q_j), g * p, -g * p
# %% bpr-gradient: other item forgotten
# hint: is missing in the gradient of p
def my_bpr_gradient(p, q_i, q_j):
    g = torch.sigmoid(p @ q_j - p @ q_i)
    return g * q_i, g * p, -g * p
# %% bpr-gradient: both pulled
# hint: must be pushed away
def my_bpr_gradient(p, q_i, q_j):
    g = torch.sigmoid(p @ q_j - p @ q_i)
    return g * (q_i - q_j), g * p, g * p
# %% coordinates: same matrix for both
# hint: turned by the same matrix
def my_other_coordinates(users, items, matrix):
    return users @ matrix, items @ matrix
# %% coordinates: transpose forgotten
# hint: not transposed
def my_other_coordinates(users, items, matrix):
    return users @ matrix, items @ torch.linalg.inv(matrix)
# %% coordinates: traits left behind
# hint: stayed behind
def my_other_coordinates(users, items, matrix):
    return users @ matrix, items
# %% coordinates: nothing done
# hint: in the old coordinates still
def my_other_coordinates(users, items, matrix):
    return users, items
