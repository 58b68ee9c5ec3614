import pytest
import torch

from anabatch.segmentation.cellpose import build_network
from anabatch.segmentation.folded import FoldedNetwork

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[[2, 4, 8, 8], [2, 8, 16, 16, 24]])
def net(request):
    torch.manual_seed(1)
    net = build_network(request.param, 24.0).train()
    for _ in range(3):  # batch statistics other than those of a new network
        net(torch.randn(2, 2, 64, 64) * 3 + 1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)  # a scale may turn signs
                module.bias.normal_()
    return net.eval()


@pytest.mark.parametrize("shape", [(1, 2, 64, 96), (3, 2, 32, 32)])
def test_the_answer_is_the_networks_up_to_rounding(net, shape):
    x = torch.randn(shape)
    with torch.inference_mode():
        expected = net(x)[0]
        answer = FoldedNetwork(net, CPU, torch.float32)(x)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max()))


def test_half_the_bits_give_an_answer_that_is_close(net):
    x = torch.randn(2, 2, 64, 64)
    with torch.inference_mode():
        expected = net(x)[0]
        answer = FoldedNetwork(net, CPU, torch.bfloat16)(x)
    assert answer.dtype == torch.float32
    assert 0 < float((answer - expected).abs().mean()) < 0.05 * float(expected.abs().mean())


def test_the_network_itself_stays_as_it_is(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    FoldedNetwork(net, CPU, torch.bfloat16)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
