import pytest
import torch
from torch import nn

from symlib.alignment.permutation import permute, random_perms
from symlib.alignment.tracing import specification
from symlib.asymmetry import Standard, constraint, n_trainable
from symlib.metanetworks import flat
from symlib.metanetworks.channel_graph import ChannelGraph, masked_entries
from symlib.metanetworks.flat import DMC, DeepSets, FlatMLP, trainable_entries
from symlib.metanetworks.statistics import StatNN, tensor_statistics
from symlib.networks.resnet import ResNet
from symlib.population import initialise
from symlib.presets import LIM_RESNET8
from symlib.seeds import generator


def size(model):
    return sum(w.numel() for w in model.parameters())


STANDARD = Standard()


def resnets(n=3, asymmetry=STANDARD, width=0.5):
    model = ResNet(8, width)
    return initialise(model, constraint(model, asymmetry, 0), range(n))


@pytest.fixture(scope="module")
def paper():
    """Return three networks of each architecture of the paper."""
    return {"standard": resnets(width=1), "w-asym": resnets(asymmetry=LIM_RESNET8, width=1)}


def test_metanetworks_have_the_parameters_of_table_14(paper):
    entries = {kind: trainable_entries(population) for kind, population in paper.items()}
    assert [x.shape[1] for x in entries.values()] == [78_042, 60_634]
    assert [size(FlatMLP(x.shape[1])) for x in entries.values()] == [4_994_945, 3_880_833]
    assert (size(DMC()), size(DeepSets())) == (105_357, 8_897)
    for population in paper.values():
        statistics = tensor_statistics(population)
        assert statistics.shape == (3, 203) and size(StatNN(203)) == 119_297


@pytest.mark.parametrize(("n_entries", "length"), [(78_042, 297), (60_634, 229), (59_944, 227)])
def test_convolutions_leave_as_many_positions_as_in_the_paper(n_entries, length):
    assert DMC().eval().convolutions(torch.zeros(1, 1, 1, n_entries)).shape == (1, 64, 1, length)


def test_convolutions_say_how_many_entries_they_need():
    model = DMC().eval()
    assert model(torch.zeros(1, 2_044)).shape == (1,)
    with pytest.raises(ValueError, match="2,044 entries or more, got 2,043"):
        model(torch.zeros(1, 2_043))


def test_deep_sets_in_parts_is_the_plain_mean_of_features(monkeypatch):
    monkeypatch.setattr(flat, "AT_ONCE", 30)  # three networks: ten entries at a time, and a rest of five
    torch.manual_seed(0)
    model, x = DeepSets().double(), torch.randn(3, 25, dtype=torch.double)
    for w in model.parameters():
        nn.init.normal_(w)
    plain = model.together(model.each(x[..., None]).mean(dim=1))[:, 0]
    torch.testing.assert_close(model(x), plain)
    for found, expected in zip(
        *(torch.autograd.grad(y.sum(), model.parameters()) for y in (model(x), plain)), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_entries_are_those_that_training_can_move(paper):
    population = paper["w-asym"]
    assert trainable_entries(population).shape[1] == n_trainable(population.model, population.constraint)
    moved = population.holding(
        {name: w + population.constraint.D.get(name, 1) for name, w in population.params.items()}
    )
    torch.testing.assert_close(trainable_entries(moved), trainable_entries(population) + 1)
    pinned = population.constraint.D["stages.0.0.conv1.weight"]
    assert not masked_entries(population)["stages.0.0.conv1.weight"][:, ~pinned].any()


def test_statistics_equal_those_of_a_loop_and_are_zero_where_nothing_can_move(paper):
    population = paper["w-asym"]
    found = tensor_statistics(population).view(3, 29, 7)
    assert not found[:, 0].any()  # the stem
    i = list(population.params).index("stages.1.0.conv2.weight")
    name = "stages.1.0.conv2.weight"
    for member in range(3):
        w = population.params[name][member][population.constraint.D[name]]
        quartiles = [torch.quantile(w, q) for q in (0.25, 0.5, 0.75)]
        torch.testing.assert_close(found[member, i], torch.stack([w.mean(), w.var(), w.min(), w.max(), *quartiles]))


def reordered(population, source):
    """Return every network with its channels in another order."""
    spec = specification(population.model, torch.zeros(2, 3, 8, 8))
    members = [permute(spec, random_perms(spec.sizes, source), member) for member in population.members()]
    return population.holding({name: torch.stack([m[name] for m in members]) for name in population.params})


def channel_graph(population):
    spec = specification(population.model, torch.zeros(2, 3, 8, 8))
    return ChannelGraph(spec, {name: w.shape[1:] for name, w in population.params.items()})


def varied(population):
    """Return networks whose norms differ too; drawn ones all have ones and zeros."""
    source = generator("norms")
    return population.holding(
        {n: w + 0.1 * torch.randn(w.shape, generator=source) for n, w in population.params.items()}
    )


LOOKS = {
    "DeepSets": (trainable_entries, lambda p: DeepSets(), True),
    "StatNN": (tensor_statistics, lambda p: StatNN(203), True),
    "channel graph": (masked_entries, channel_graph, True),
    "MLP": (trainable_entries, lambda p: FlatMLP(trainable_entries(p).shape[1]), False),
    "DMC": (trainable_entries, lambda p: DMC(), False),
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_order_of_channels_matters_to_those_metanetworks_that_do_not_know_it(name):
    read, make, blind = LOOKS[name]
    population = varied(resnets(width=0.5))
    torch.manual_seed(0)
    model = make(population).double().eval()

    def scores(networks):
        inputs = read(networks)
        doubled = {k: w.double() for k, w in inputs.items()} if isinstance(inputs, dict) else inputs.double()
        return model(doubled).detach()

    ours, theirs = scores(population), scores(reordered(population, generator("order")))
    assert ours.shape == (3,) and ours.std() > 1e-8
    if blind:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # statistics are in single precision
    else:
        assert (ours - theirs).abs().max() > 0.1 * ours.std()


def test_channel_graph_sees_what_statistics_of_tensors_cannot():
    """Shuffle the entries of one tensor: the set stays, the network does not."""
    population = varied(resnets())
    name = "stages.2.0.conv1.weight"
    w = population.params[name]
    shuffled = w.flatten(1)[:, torch.randperm(w[0].numel(), generator=generator("shuffle"))].view_as(w)
    other = population.holding(population.params | {name: shuffled})
    torch.testing.assert_close(tensor_statistics(population), tensor_statistics(other))
    torch.manual_seed(0)
    model = channel_graph(population).eval()
    assert (model(masked_entries(population)) - model(masked_entries(other))).abs().max() > 1e-5


def test_places_of_inputs_and_classes_matter_to_the_channel_graph():
    population = varied(resnets())
    torch.manual_seed(0)
    model, inputs = channel_graph(population).eval(), masked_entries(population)
    for name, axis in (("stem.weight", 2), ("linear.weight", 1)):
        other = inputs | {name: inputs[name].flip(axis)}
        assert (model(inputs) - model(other)).abs().max() > 1e-5


@pytest.mark.parametrize("name", ["MLP", "StatNN", "channel graph"])
def test_networks_of_another_architecture_are_refused(name):
    read, make, _ = LOOKS[name]
    model = make(resnets(width=0.5))
    other = read(resnets(width=0.25)) if name != "StatNN" else tensor_statistics(resnets()).new_zeros(3, 14)
    with pytest.raises(ValueError, match="was made for .* make one for this architecture"):
        model(other)


def test_channel_graph_refuses_axes_of_several_groups():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(16, 2)

        def forward(self, x):
            return self.linear(self.conv(x).relu().flatten(1))

    model = Folded()
    spec = specification(model, torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="axis 1 of linear.weight is made of several groups"):
        ChannelGraph(spec, {name: w.shape for name, w in model.named_parameters()})
