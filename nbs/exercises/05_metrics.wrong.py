"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% top: scores instead of positions
# hint: positions of items
def my_top_k(scores, seen, k):
    return scores.masked_fill(seen, -torch.inf).topk(k, dim=1).values
# %% top: seen items kept
# hint: holds an item that was seen
def my_top_k(scores, seen, k):
    return scores.topk(k, dim=1).indices
# %% top: seen items set to zero
# hint: zero is not low
def my_top_k(scores, seen, k):
    return scores.masked_fill(seen, 0.0).topk(k, dim=1).indices
# %% top: worst first
# hint: comes first
def my_top_k(scores, seen, k):
    return scores.masked_fill(seen, -torch.inf).topk(k, dim=1).indices.flip(1)
# %% ndcg: ideal always has k items
# hint: not k (see
def my_ndcg(scores, relevant, k):
    hits = relevant.gather(1, scores.topk(k, dim=1).indices).double()
    discount = 1 / torch.log2(torch.arange(2, k + 2).double())
    return (hits * discount).sum(1) / discount.sum()
# %% ndcg: ideal not cut at k
# hint: cut the ideal at k
def my_ndcg(scores, relevant, k):
    hits = relevant.gather(1, scores.topk(k, dim=1).indices).double()
    discount = 1 / torch.log2(torch.arange(2, relevant.shape[1] + 2).double())
    return (hits * discount[:k]).sum(1) / discount.cumsum(0)[relevant.sum(1) - 1]
# %% ndcg: one over the place
# hint: not 1 over the place
def my_ndcg(scores, relevant, k):
    hits = relevant.gather(1, scores.topk(k, dim=1).indices).double()
    discount = 1 / torch.arange(1, k + 1).double()
    return (hits * discount).sum(1) / discount.cumsum(0)[relevant.sum(1).clamp(max=k) - 1]
# %% ndcg: places from zero
# hint: places count from 1
def my_ndcg(scores, relevant, k):
    hits = relevant.gather(1, scores.topk(k, dim=1).indices).double()
    discount = 1 / torch.log2(torch.arange(1, k + 1).double())
    return (hits * discount).sum(1) / discount.cumsum(0)[relevant.sum(1).clamp(max=k) - 1]
# %% auc: ties lost
# hint: counted as lost
def my_auc(scores, relevant):
    return (scores[relevant][:, None] > scores[~relevant][None, :]).double().mean()
# %% auc: ties won
# hint: counted as won
def my_auc(scores, relevant):
    return (scores[relevant][:, None] >= scores[~relevant][None, :]).double().mean()
# %% auc: the wrong way round
# hint: counted those instead
def my_auc(scores, relevant):
    gap = scores[~relevant][:, None] - scores[relevant][None, :]
    return ((gap > 0).double() + 0.5 * (gap == 0)).mean()
# %% sampled: full rank against k
# hint: do not compare the full rank
def my_sampled_hit_rate(rank, n_items, n_negatives, k):
    return float(rank <= k)
# %% sampled: one too many
# hint: fewer than k may be better
def my_sampled_hit_rate(rank, n_items, n_negatives, k):
    return binom.cdf(k, n_negatives, (rank - 1) / (n_items - 1))
# %% sampled: share of all
# hint: out of n - 1 others
def my_sampled_hit_rate(rank, n_items, n_negatives, k):
    return 1.0 if rank == 1 else binom.cdf(k - 1, n_negatives, rank / n_items)
