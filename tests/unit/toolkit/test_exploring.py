"""Maps, clusters, names, outliers, diversity, duplicates, recommendations and matching, on small made-up vectors."""

import numpy as np
import pytest

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit import cluster, naming
from luthier.toolkit.dedupe import find_duplicates
from luthier.toolkit.diversity import mean_similarity, measure_diversity, vendi
from luthier.toolkit.map import Map, Method, make_map
from luthier.toolkit.match import Matcher
from luthier.toolkit.outliers import Score, find_outliers, robust_limit
from luthier.toolkit.recommend import recommend
from luthier.toolkit.vectors import unit

SIZES = (30, 20, 10)


@pytest.fixture(scope="module")
def groups():
    """Three groups of 30, 20 and 10 rows in 16 dimensions, in mixed order, and which is which."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), SIZES)
    random.shuffle(truth)
    vectors = np.eye(3, 16)[truth] + random.normal(0, 0.06, (len(truth), 16))
    return unit(vectors.astype(np.float32)), truth


def test_pca_is_scikit_learns_with_the_variance_of_each_axis(groups):
    vectors, _ = groups
    found = make_map(vectors, Method.PCA)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert found.explained == pytest.approx(values[:2] / values.sum(), rel=1e-4)
    assert np.square(found.coordinates).sum(axis=0) == pytest.approx(values[:2], rel=1e-4)
    assert found.axes[0].startswith("PCA 1 (")


@pytest.mark.parametrize("dims", [2, 3])
def test_tsne_keeps_groups_together_and_repeats_itself(groups, dims):
    vectors, truth = groups
    found = make_map(vectors, Method.TSNE, dims)
    assert found.coordinates.shape == (60, dims)
    gaps = np.linalg.norm(found.coordinates[:, None] - found.coordinates[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (truth[gaps.argmin(axis=1)] == truth).all()
    assert (make_map(vectors, Method.TSNE, dims).coordinates == found.coordinates).all()
    assert found.settings == {"perplexity": pytest.approx(59 / 3, abs=1e-3), "seed": 42}
    assert len(found.as_dict()["points"]) == 60


@pytest.mark.parametrize(
    ("vectors", "options", "error", "words"),
    [
        (np.ones((9, 4)), {}, DataError, "All 9 embeddings are the same"),
        (np.eye(3), {}, DataError, "at least 4 rows; there are 3"),
        (np.zeros((1, 3)), {}, DataError, "there is 1"),
        (np.zeros((0, 3)), {}, DataError, "there are 0"),
        (np.ones(5), {}, DataError, "shape"),
        ([[1.0], [1.0, 2.0]], {}, DataError, "no table of numbers"),
        (np.array([[np.nan, 1]] + [[1, 2]] * 9), {}, DataError, "row 1 has something"),
        (np.arange(9.0)[:, None], {}, DataError, "of 1 number"),
        (np.eye(9), {"dims": 4}, InvalidRequestError, "2 or 3 dimensions"),
        (np.eye(9), {"perplexity": 50}, InvalidRequestError, "give 1 to 2"),
        (np.eye(9), {"neighbours": 5}, InvalidRequestError, "UMAP's"),
        (np.eye(9), {"method": Method.PCA, "perplexity": 5}, InvalidRequestError, "t-SNE's"),
        (np.eye(9), {"method": Method.UMAP, "neighbours": 9}, InvalidRequestError, "give 2 to 8"),
    ],
)
def test_maps_refuse_what_cannot_be_mapped(vectors, options, error, words):
    with pytest.raises(error, match=words):
        make_map(vectors, **options)


def test_kmeans_finds_the_groups_the_largest_first(groups):
    vectors, truth = groups
    found = cluster.kmeans(vectors, 3, nearest=2)
    assert (found.labels == truth).all()
    assert [item.size for item in found.clusters] == list(SIZES)
    for item in found.clusters:
        members = np.flatnonzero(truth == item.label)
        centre = unit(vectors[members].mean(axis=0, keepdims=True))[0]
        assert set(item.nearest) == set(members[np.argsort(-(vectors[members] @ centre))[:2]])
    assert found.means(truth * 10.0) == (0, 10, 20)
    assert found.silhouette > 0.8
    assert found.as_dict()["clusters"][0]["nearest"] == [row + 1 for row in found.clusters[0].nearest]


def test_the_number_of_clusters_is_chosen_by_silhouette(groups):
    found = cluster.best_kmeans(groups[0], ks=range(2, 6))
    assert len(found.clusters) == 3
    assert max(found.tried, key=found.tried.get) == 3
    assert sorted(found.tried) == [2, 3, 4, 5]


def test_hdbscan_leaves_out_what_is_in_no_dense_region(groups):
    vectors, truth = groups
    odd = -np.eye(2, 16, dtype=np.float32)
    found = cluster.hdbscan(np.vstack([vectors, odd]), min_size=6)
    assert (found.labels[:60] == truth).mean() > 0.9
    assert (found.labels[60:] == -1).all()


def test_rows_that_repeat_another_are_not_shown_beside_it():
    found = cluster.kmeans(np.array([[1, 0], [1, 0], [1, 0.5], [1, 0.501]]), 1, nearest=3)
    assert len(found.clusters[0].nearest) == 2


def test_one_cluster_has_no_silhouette(groups):
    assert cluster.kmeans(groups[0], 1).silhouette is None


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: cluster.kmeans(np.eye(5), 0), InvalidRequestError, "at least 1, not 0"),
        (lambda: cluster.kmeans(np.eye(5), 6), InvalidRequestError, "6 clusters cannot be made of 5 rows"),
        (lambda: cluster.kmeans(np.ones((5, 3)), 2), DataError, "only 1 of the 5 embeddings is different"),
        (lambda: cluster.kmeans(np.ones((1, 3)), 1), DataError, "at least 2 rows"),
        (lambda: cluster.best_kmeans(np.ones((5, 3))), DataError, "no number of clusters to choose"),
        (lambda: cluster.hdbscan(np.eye(20), min_size=21), InvalidRequestError, "give 2 to 20"),
        (lambda: cluster.hdbscan(np.eye(4)), DataError, "at least 5 rows"),
        (lambda: find_outliers(np.eye(2)), DataError, "at least 3 rows"),
        (lambda: find_outliers(np.eye(5), share=1.0), InvalidRequestError, "between 0 and 1"),
        (lambda: find_outliers(np.eye(5), neighbours=5), InvalidRequestError, "give 1 to 4"),
        (lambda: measure_diversity(np.eye(1)), DataError, "at least 2 rows"),
        (lambda: measure_diversity(np.eye(3), ["a", "b", "c"]), DataError, "one row only"),
        (lambda: measure_diversity(np.eye(3), ["a"]), DataError, "1 groups for 3 rows"),
        (lambda: find_duplicates(np.eye(3), 0), InvalidRequestError, "cosine above 0"),
        (lambda: find_duplicates(np.eye(3), 1.2), InvalidRequestError, "cosine above 0"),
        (lambda: find_duplicates(np.eye(1)), DataError, "at least 2 rows"),
        (lambda: recommend(np.eye(3), []), InvalidRequestError, "Nothing is liked"),
        (lambda: recommend(np.eye(3), [3]), InvalidRequestError, "no row 4 to like: the rows are 1 to 3"),
        (lambda: recommend(np.eye(3), [-1]), InvalidRequestError, "no row 0 to like"),
        (lambda: recommend(np.eye(3), [0], [0]), InvalidRequestError, "liked and disliked"),
        (lambda: recommend(np.eye(3), [0], k=0), InvalidRequestError, "at least 1, not 0"),
        (lambda: recommend(np.eye(3), [0], diversity=1), InvalidRequestError, "below 1"),
        (lambda: recommend(np.zeros((3, 2)), [0]), DataError, "of what is liked are zeros"),
        (lambda: recommend(np.array([[1, 0], [-1, 0], [0, 1]]), [0, 1]), DataError, "cancel out"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_terms_are_those_that_tell_clusters_apart():
    texts = ["My dog loves this <br /> dog food", "dog food with chicken", "strong coffee", "coffee with milk"] * 3
    terms = naming.distinctive_terms(texts, np.array([0, 0, 1, 1] * 3), n=2)
    assert terms[0][0] in ("dog", "dog food")
    assert terms[1][0] == "coffee"
    assert not any("br" in term.split() for found in terms.values() for term in found)
    assert naming.distinctive_terms(["1", "2"], np.array([0, 1])) == {0: (), 1: ()}


def test_a_model_is_asked_as_the_cookbook_asks():
    asked = []

    def complete(prompt):
        asked.append(prompt)
        return "\n Fresh  coffee \n\nWhat else? It is hot. "

    assert naming.ask_name(["Good\ncoffee", "x" * 1000], complete) == "Fresh coffee"
    assert asked == [
        "What do the following customer reviews have in common?\n\nCustomer reviews:\n"
        f'"""\nGood coffee\n{"x" * 400}\n"""\n\nTheme:'
    ]


def test_outliers_lie_far_from_their_neighbours(groups):
    vectors, _ = groups
    odd = np.eye(16, dtype=np.float32)[[10]]
    both = np.vstack([vectors, odd])
    for score in Score:
        found = find_outliers(both, score=score, neighbours=5)
        assert found.rows[0] == 60
        assert found.scores[60] > found.threshold
    distances = 1 - both.astype(np.float64) @ both[60].astype(np.float64)
    expected = np.sort(distances[:60])[:5].mean()
    assert find_outliers(both, neighbours=5).scores[60] == pytest.approx(expected, abs=1e-5)
    assert len(find_outliers(both, share=0.1).rows) == 6
    assert robust_limit(np.array([1.0, 2.0, 3.0]), 2) == pytest.approx(2 + 2 * 1.4826)


def test_diversity_of_rows_that_are_all_alike_and_all_different():
    alike, different = np.ones((6, 8), np.float32), np.eye(6, 8, dtype=np.float32)
    assert measure_diversity(alike).whole.vendi == pytest.approx(1)
    assert measure_diversity(alike).whole.mean_similarity == pytest.approx(1)
    assert measure_diversity(different).whole.vendi == pytest.approx(6)
    assert measure_diversity(different).whole.mean_similarity == pytest.approx(0)


def test_diversity_agrees_with_all_pairs(groups):
    vectors, truth = groups
    cosines = (vectors @ vectors.T)[np.triu_indices(60, 1)]
    found = measure_diversity(vectors, truth)
    assert mean_similarity(vectors) == pytest.approx(cosines.mean(), abs=1e-6)
    assert found.quantiles[0.5] == pytest.approx(np.median(cosines), abs=1e-6)
    assert found.counts.sum() == found.n_pairs == len(cosines)
    assert sorted(group.n_rows for group in found.groups) == sorted(SIZES)
    values = np.linalg.eigvalsh(vectors.astype(np.float64) @ vectors.T.astype(np.float64) / 60)
    values = values[values > 1e-12]
    assert vendi(vectors) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-6)


def test_duplicates_keep_the_first_and_make_no_chains():
    angles = np.deg2rad([0, 90, 0, 10, 20, 91])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    found = find_duplicates(vectors, float(np.cos(np.deg2rad(12))))
    # 20° is near 10°, which is left out for 0°; it is 20° from 0°, so it stays.
    assert [group.rows for group in found.groups] == [(0, 2, 3), (1, 5)]
    assert found.keep.tolist() == [True, True, False, False, True, False]
    assert found.groups[0].least == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-6)
    assert found.as_dict()["groups"][0] == {"keep": 1, "drop": [3, 4], "least_similarity": found.groups[0].least}


def test_duplicates_across_blocks(monkeypatch):
    monkeypatch.setattr("luthier.toolkit.dedupe._BLOCK", 4)
    random = np.random.default_rng(3)
    vectors = random.normal(size=(10, 32))
    found = find_duplicates(np.vstack([vectors, vectors[::-1]]), 1.0)
    assert {group.rows for group in found.groups} == {(row, 19 - row) for row in range(10)}


def test_recommendations_are_the_nearest_others(groups):
    vectors, truth = groups
    liked = int(np.flatnonzero(truth == 1)[0])
    found = recommend(vectors, [liked], k=3)
    cosines = vectors @ vectors[liked]
    cosines[liked] = -1
    assert [item.row for item in found.found] == list(np.argsort(-cosines)[:3])
    assert found.found[0].score == pytest.approx(cosines.max(), abs=1e-5)
    assert len(recommend(vectors, [liked], k=1000).found) == 59


def test_dislikes_push_away_and_diversity_spreads():
    vectors = unit(np.array([[1, 0, 0], [0.9, 0.4, 0], [0.9, 0, 0.4], [0.9, 0.41, 0], [0, 1, 0]], dtype=np.float32))
    assert recommend(vectors, [0], [4], k=2).found[0].row == 2
    assert [item.row for item in recommend(vectors, [0], k=3).found] == [1, 2, 3]
    assert [item.row for item in recommend(vectors[[0, 1, 3, 2]], [0], k=2, diversity=0.5).found] == [1, 3]


WORDS = {"plant": [1, 0], "bird": [0, 1], "fern": [0.9, 0.1], "gull": [0.2, 2]}


def fake_embed(texts):
    return np.array([WORDS[text] for text in texts], dtype=np.float32)


def test_matching_ranks_categories_by_cosine():
    matcher = Matcher(["plant", "bird"], fake_embed)
    fern, gull = matcher.match(["fern", "gull"])
    assert (fern.best, gull.best) == ("plant", "bird")
    assert gull.scores[0][1] == pytest.approx(2 / np.hypot(0.2, 2), abs=1e-6)
    assert fern.as_dict()["scores"][0]["category"] == "plant"
    assert matcher.match([]) == []
    with pytest.raises(DataError, match="Text 2 is empty"):
        matcher.match(["fern", " "])


@pytest.mark.parametrize(("names", "words"), [(["a"], "two categories"), (["a", "a"], "twice"), (["a", " "], "empty")])
def test_categories_that_make_no_sense(names, words):
    with pytest.raises(InvalidRequestError, match=words):
        Matcher(names, fake_embed)


def test_a_map_as_json_has_plain_types():
    found = Map(Method.PCA, np.zeros((2, 2), np.float32), (0.5, 0.25), {"seed": 1})
    assert found.as_dict() == {
        "method": "pca",
        "dims": 2,
        "settings": {"seed": 1},
        "explained_variance": [0.5, 0.25],
        "points": [[0.0, 0.0], [0.0, 0.0]],
    }


def test_rows_that_are_there_many_times_do_not_make_all_others_outliers():
    random = np.random.default_rng(0)
    often = np.repeat(random.normal(size=(10, 8)), 20, axis=0)
    found = find_outliers(np.vstack([often, random.normal(size=(3, 8))]))
    assert sorted(found.rows) == [200, 201, 202]
    half = random.normal(size=(100, 8))
    half[:60] = half[0]
    assert len(find_outliers(half).rows) <= 10
