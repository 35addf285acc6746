"""The order of an epoch: every caption once, in batches of like length, the same for a seed."""

from collections import Counter

import numpy as np
import pytest

from workflow_scripts.lib.captioner.sampler import CaptionSampler, LengthOrder, padding_share
from workflow_scripts.lib.errors import UserError

LENGTHS = np.random.default_rng(0).integers(5, 200, 1003)


class Languages:
    """Captions of which two in three are English."""

    def languages(self):
        return ["en", "ko"], (np.arange(len(LENGTHS)) % 3 == 0).astype(int)


def epochs(sampler, count=3):
    found = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler)
        found.append(order)
    return found


@pytest.mark.parametrize("bucket", [True, False])
def test_every_caption_comes_once_an_epoch_and_the_last_batch_is_filled_up(bucket):
    orders = epochs(CaptionSampler(LENGTHS, 16, 7, bucket=bucket))
    for order in orders:
        assert len(order) % 16 == 0
        assert sorted(index for index in order if index >= 0) == list(range(len(LENGTHS)))
        filled = [index for index in order if index < 0]
        assert len(filled) == 5 and order[-5:] == filled and set(filled) == {~order[-6]}
    assert orders[0] != orders[1] != orders[2]


def test_the_order_is_that_of_seed_and_epoch_alone():
    first, again = (CaptionSampler(LENGTHS, 16, 7) for _ in range(2))
    straight = epochs(first)
    again.set_epoch(2)  # as a resumed run does
    assert list(again) == straight[2]
    assert list(CaptionSampler(LENGTHS, 16, 8)) != straight[0]


def test_captions_of_a_batch_are_of_like_length_and_batches_of_any():
    bucketed = CaptionSampler(LENGTHS, 16, 7).order(0)
    plain = CaptionSampler(LENGTHS, 16, 7, bucket=False).order(0)
    assert padding_share(bucketed, LENGTHS, 16) < 0.05 < 0.3 < padding_share(plain, LENGTHS, 16)
    assert padding_share(bucketed, LENGTHS, 4) < padding_share(bucketed, LENGTHS, 16)
    first = LENGTHS[bucketed[: 20 * 16]].reshape(20, 16).max(axis=1)
    assert (np.diff(first) > 0).any() and (np.diff(first) < 0).any()


def test_padding_is_what_is_not_of_an_item():
    assert padding_share(np.array([0, 1, 2, ~2]), np.array([2, 4, 5]), 2) == pytest.approx(2 / 18)


def test_one_caption_of_a_moment_another_in_another_epoch():
    moments = np.arange(len(LENGTHS)) // 5
    seen = Counter()
    for order in epochs(CaptionSampler(LENGTHS, 16, 7, moments=moments), 12):
        drawn = [index for index in order if index >= 0]
        assert sorted(moments[drawn]) == sorted(set(moments))
        seen.update(drawn)
    assert len(seen) > 0.8 * len(LENGTHS)


@pytest.mark.parametrize(("shares", "english"), [({"en": 1, "ko": 1}, 502), ({"en": 0.3, "ko": 0.9}, 251)])
def test_languages_have_their_shares_of_an_epoch(shares, english):
    sampler = CaptionSampler(LENGTHS, 16, 7, shares=shares, examples=Languages())
    codes = Languages().languages()[1]
    for order in epochs(sampler):
        drawn = np.array([index for index in order if index >= 0])
        assert len(drawn) == len(LENGTHS)
        assert (codes[drawn] == 0).sum() == english
        counts = Counter(drawn[codes[drawn] == 1].tolist())  # Korean has to be repeated: evenly
        assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == (codes == 1).sum()


@pytest.mark.parametrize(
    ("shares", "message"),
    [({"en": 1}, "no share for the language 'ko'"), ({"en": 1, "ko": 1, "zh": 1}, "'zh'")],
)
def test_shares_that_are_not_those_of_the_captions_are_refused(shares, message):
    with pytest.raises(UserError, match=message):
        CaptionSampler(LENGTHS, 16, 7, shares=shares, examples=Languages())


def test_validation_goes_through_all_items_from_the_longest_on():
    order = list(LengthOrder(LENGTHS, 8))
    assert len(order) % 8 == 0
    assert sorted(index for index in order if index >= 0) == list(range(len(LENGTHS)))
    assert (np.diff(LENGTHS[[index for index in order if index >= 0]]) <= 0).all()
