import pytest
import torch
import torch.nn.functional as F

from symlib.data.augmentation import LIM_BAYES, LIM_CIFAR, LIM_CLASSIFIERS, Augmentation
from symlib.seeds import generator

COLOURED = Augmentation(flip=True, shift=3, cutout=2, fill=(0.5, -1.0, 2.0))
ALL = {"cifar": LIM_CIFAR, "classifiers": LIM_CLASSIFIERS, "bayes": LIM_BAYES, "coloured": COLOURED}


def images(*leading, size=(12, 10)):
    return torch.randn(*leading, 3, *size, generator=generator("images"))


def one_by_one(augmentation, x, decisions):
    """Flip, pad, crop and cut every image on its own."""
    s, done = augmentation.shift, []
    colours = (augmentation.fill * 3)[:3]
    for image, (flip, down, right, top, left) in zip(x, decisions.tolist(), strict=True):
        if flip:
            image = torch.tensor(image.numpy()[:, :, ::-1].copy())
        if augmentation.fill == "reflect":
            padded = F.pad(image[None], (s, s, s, s), mode="reflect")[0]
        else:
            channels = zip(image, colours, strict=True)
            padded = torch.stack([F.pad(channel, (s, s, s, s), value=colour) for channel, colour in channels])
        _, height, width = image.shape
        crop = padded[:, s - down : s - down + height, s - right : s - right + width].clone()
        for c in range(3):
            if augmentation.cutout:
                crop[c, top : top + augmentation.cutout, left : left + augmentation.cutout] = colours[c]
        done.append(crop)
    return torch.stack(done)


@pytest.mark.parametrize("name", ALL)
def test_one_gather_equals_padding_and_cropping_every_image(name):
    x = images(64)
    decisions = ALL[name].draw(64, (12, 10), generator("decisions"))
    torch.testing.assert_close(ALL[name](x, decisions), one_by_one(ALL[name], x, decisions), rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_member_of_a_population_sees_what_it_sees_alone(name):
    x = images(3, 8)
    decisions = torch.stack([ALL[name].draw(8, (12, 10), generator(i)) for i in range(3)])
    together = ALL[name](x, decisions)
    for i in range(3):
        assert torch.equal(together[i], ALL[name](x[i], ALL[name].draw(8, (12, 10), generator(i))))
    assert torch.equal(together[1, 2], ALL[name](x[1, 2], decisions[1, 2]))


@pytest.mark.parametrize("name", ALL)
def test_every_decision_occurs_about_equally_often(name):
    a = ALL[name]
    decisions = a.draw(20_000, (12, 10), generator("many"))
    assert decisions.dtype == torch.int64
    spans = [
        range(2),
        range(-a.shift, a.shift + 1),
        range(-a.shift, a.shift + 1),
        range(12 - a.cutout + 1) if a.cutout else range(1),
        range(10 - a.cutout + 1) if a.cutout else range(1),
    ]
    for column, span in zip(decisions.T, spans, strict=True):
        values, counts = column.unique(return_counts=True)
        assert values.tolist() == list(span)
        torch.testing.assert_close(counts / 20_000, torch.full((len(span),), 1 / len(span)), rtol=0.15, atol=0)
    assert torch.corrcoef(decisions[:, :3].T.double()).fill_diagonal_(0).abs().max() < 0.03


def test_draws_follow_from_the_generator_alone():
    first, again = (LIM_CLASSIFIERS.draw(50, (32, 32), generator(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, LIM_CLASSIFIERS.draw(50, (32, 32), generator(2)))


def test_images_of_one_batch_are_cropped_differently():
    """The reference code decides once per batch."""
    x = images(1).expand(64, -1, -1, -1)
    seen = LIM_CIFAR(x, LIM_CIFAR.draw(64, (12, 10), generator("batch")))
    assert len(seen.flatten(1).unique(dim=0)) > 32


def test_switched_off_augmentation_changes_nothing():
    x, nothing = images(5), Augmentation(flip=False, shift=0)
    decisions = nothing.draw(5, (12, 10), generator(0))
    assert not decisions.any() and torch.equal(nothing(x, decisions), x)


def test_uncovered_pixels_hold_the_colour_of_the_reference_code():
    image = torch.zeros(3, 32, 32)
    seen = LIM_CLASSIFIERS(image, torch.tensor([0, 2, 0, 20, 20]))
    colour = torch.tensor([(125 / 255 - 0.4914) / 0.2470, (122 / 255 - 0.4822) / 0.2435, (113 / 255 - 0.4465) / 0.2616])
    torch.testing.assert_close(seen[:, 0, 0], colour)
    torch.testing.assert_close(seen[:, 23, 23], colour)
    assert not seen[:, 2, 0].any() and not seen[:, 24, 23].any()
    assert not LIM_CIFAR(image + 1, torch.tensor([0, 4, 0, 0, 0]))[:, :4].any()


def test_reflection_by_hand():
    row = torch.arange(6.0).expand(1, 6, 6)
    mirrored = Augmentation(flip=False, shift=2, fill="reflect")
    assert mirrored(row, torch.tensor([0, 0, 2, 0, 0]))[0, 0].tolist() == [2, 1, 0, 1, 2, 3]
    assert mirrored(row, torch.tensor([0, 0, -2, 0, 0]))[0, 0].tolist() == [2, 3, 4, 5, 4, 3]


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (Augmentation(True, shift=10), "12 x 10 pixels are too small for a shift of 10 and"),
        (Augmentation(True, shift=0, cutout=11), "too small for a shift of 0 and a cutout of 11"),
    ],
)
def test_too_small_images_are_refused(augmentation, message):
    with pytest.raises(ValueError, match=message):
        augmentation.draw(2, (12, 10), generator(0))
    with pytest.raises(ValueError, match=message):
        augmentation(images(2), torch.zeros(2, 5, dtype=torch.int64))


def test_largest_cutout_covers_the_image():
    seen = Augmentation(False, shift=9, cutout=10)(images(1, size=(10, 10)), torch.zeros(1, 5, dtype=torch.int64))
    assert not seen.any()


@pytest.mark.parametrize(
    ("x", "decisions"),
    [((4, 3, 12, 10), (3, 5)), ((4, 3, 12, 10), (4, 4)), ((2, 4, 3, 12, 10), (4, 5)), ((12, 10), (5,))],
)
def test_shapes_that_do_not_fit_are_refused(x, decisions):
    with pytest.raises(ValueError, match=r"need decisions of shape \(..., 5\) with the same leading axes, got"):
        LIM_CIFAR(torch.zeros(x), torch.zeros(decisions, dtype=torch.int64))


def test_colour_needs_one_number_per_channel():
    with pytest.raises(ValueError, match="fill has 3 numbers, but the images have 1 channels"):
        LIM_CLASSIFIERS(torch.zeros(2, 1, 12, 10), torch.zeros(2, 5, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": -1}, "0 or more, got -1 and 0"),
        ({"shift": 1, "cutout": -2}, "0 or more, got 1 and -2"),
        ({"shift": 1, "fill": "wrap"}, "numbers or 'reflect', got 'wrap'"),
        ({"shift": 1, "cutout": 2, "fill": "reflect"}, "a cutout has no reflection"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(flip=True, **settings)
