"""The border to RPC endpoints and deployment files: wrong ones are refused with a paragraph that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_chain import Anvil, free_port
from proxies import Call, honest, proxy, refusal, result, silent
from scenes import MARKET, deployment_of

from orebit.chain import deployment as deployments
from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.market import Market
from orebit.chain.rpc import RpcError, parse_urls, redact
from orebit.errors import ChainError, ConfigError, TransactionReverted


async def test_an_unreachable_endpoint(anvil: Anvil) -> None:
    with pytest.raises(ChainError, match=r"No RPC endpoint answered: http://127.0.0.1:\d+ cannot be reached") as caught:
        await connect([f"http://127.0.0.1:{free_port()}/secret-key"], deployment_of(anvil))
    assert "secret-key" not in str(caught.value)
    assert "OREBIT_RPC" in str(caught.value)


async def test_an_endpoint_that_never_answers(anvil: Anvil) -> None:
    async with proxy(anvil.url, silent) as url:
        with pytest.raises(ChainError, match="did not answer in time"):
            await connect([url], deployment_of(anvil), timeout=0.3)


async def test_the_next_endpoint_takes_over(anvil: Anvil) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with await connect([dead, anvil.url], deployment_of(anvil)) as connection:
        assert (await connection.head()).number == 0


async def test_an_endpoint_that_dies_later_is_left(anvil: Anvil) -> None:
    alive = True

    async def mortal(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        return None if alive else refusal("shutting down", -32603)

    async with proxy(anvil.url, mortal) as first, proxy(anvil.url, honest) as second:
        async with await connect([first, second], deployment_of(anvil)) as connection:
            await connection.head()
            alive = False
            assert (await connection.head()).number == 0
            alive = True


async def test_an_endpoint_that_was_down_is_checked_when_it_is_back(
    anvil: Anvil, start_anvil: Callable[..., Anvil]
) -> None:
    """It turns out to be another chain's: the others answer."""
    other = start_anvil("--chain-id", "99")
    down = True

    async def late(method: str, parameters: list[Any], call: Call) -> Any:
        return ["down"] if down else None

    async with proxy(other.url, late) as url:
        async with await connect([url, anvil.url], deployment_of(anvil)) as connection:
            down = False
            assert (await connection.rpc.call_all("eth_chainId")) == ["0x7a69"]
            assert await connection.rpc.call("eth_chainId") == "0x7a69"


async def test_an_unreachable_endpoint_is_asked_last(anvil: Anvil) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with await connect([dead, anvil.url], deployment_of(anvil)) as connection:
        assert [endpoint.url for endpoint in connection.rpc.ordered()] == [anvil.url, dead]
        assert [endpoint.url for endpoint in connection.rpc.awake()] == [anvil.url]


async def test_another_chain(start_anvil: Callable[..., Anvil]) -> None:
    chain = start_anvil("--chain-id", "99")
    with pytest.raises(ChainError, match="serves chain 99, but the deployment is on chain 31337"):
        await connect([chain.url], deployment_of(chain, chain_id=31337))


async def test_another_genesis(anvil: Anvil) -> None:
    with pytest.raises(ChainError, match="another genesis block"):
        await connect([anvil.url], deployment_of(anvil, genesis_hash="0x" + "ab" * 32))


async def test_a_deployment_that_is_not_there(anvil: Anvil) -> None:
    deployment = deployment_of(anvil)
    anvil.rpc("anvil_setCode", MARKET, "0x")
    with pytest.raises(ChainError, match="no contract at the market's address"):
        await connect([anvil.url], deployment)


@pytest.mark.parametrize("answer", [[1, 2], {"jsonrpc": "2.0"}, result({"number": "x"})])
async def test_nonsense(anvil: Anvil, answer: Any) -> None:
    deployment = deployment_of(anvil)

    async def mad(method: str, parameters: list[Any], call: Call) -> Any:
        return answer if method == "eth_getBlockByNumber" and parameters[0] == "latest" else None

    async with proxy(anvil.url, mad) as url, await connect([url], deployment) as connection:
        with pytest.raises(ChainError):
            await connection.head()


async def test_a_refusal_keeps_its_code_and_is_not_retried_elsewhere(anvil: Anvil) -> None:
    asked = 0

    async def picky(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        nonlocal asked
        asked += method == "eth_getBalance"
        return refusal("invalid argument", -32602) if method == "eth_getBalance" else None

    async with proxy(anvil.url, picky) as one, proxy(anvil.url, picky) as two:
        async with await connect([one, two], deployment_of(anvil)) as connection:
            with pytest.raises(RpcError, match="invalid argument") as caught:
                await connection.ether_of(MARKET)
    assert (caught.value.code, asked) == (-32602, 1)


async def test_a_view_of_another_contract_says_so(anvil: Anvil) -> None:
    deployment = deployment_of(anvil)
    anvil.rpc("anvil_setCode", MARKET, "0x00")
    async with await connect([anvil.url], deployment) as connection:
        with pytest.raises(ChainError, match="addresses may be of other contracts, or of another version"):
            await Market(connection).task_count()


async def test_a_revert_names_the_error(anvil: Anvil, deployed: Deployment) -> None:
    async with await connect([anvil.url], deployed) as connection:
        market = Market(connection)
        with pytest.raises(TransactionReverted, match=rf"posting: NotRequester\(task=7, caller={MARKET}\)") as caught:
            await connection.call(market.address, market.encode_post(7, b"r" * 32, 1, 1), sender=MARKET, what="posting")
    assert (caught.value.error, caught.value.values["task"]) == ("NotRequester", 7)


@pytest.mark.parametrize("text", ["", " , ", "localhost:8545", "ws://localhost:1", "http://"])
def test_bad_urls_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="RPC"):
        parse_urls(text)


def test_several_urls() -> None:
    assert parse_urls("http://a:1, https://b/key") == ["http://a:1", "https://b/key"]
    assert redact("https://user:word@b/key") == "https://b"


@pytest.fixture
def content() -> dict[str, Any]:
    addresses = {name: "0x" + "0" * 39 + str(index) for index, name in enumerate(("token", "registry", "market"))}
    return {"chain_id": 5, "genesis_hash": "0x" + "11" * 32, "block": 3, "arbiter": "0x" + "1" * 40, **addresses}


def test_the_environment_names_a_deployment(
    tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "5.json"
    file.write_text(json.dumps(content))
    monkeypatch.setenv("OREBIT_DEPLOYMENT", str(file))
    assert deployments.load().chain_id == 5
    with pytest.raises(ConfigError, match="is for chain 5, but the RPC endpoint serves chain 6"):
        deployments.load(6)


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"market": "0x12"}, "market"), ({"genesis_hash": "0x1"}, "genesis_hash"), ({"chain_id": "x"}, "chain_id")],
)
def test_a_malformed_deployment_says_where(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], fault: str
) -> None:
    file = tmp_path / "5.json"
    file.write_text(json.dumps(content | change))
    with pytest.raises(ConfigError, match=f"malformed: {fault}"):
        deployments.load(path=file)


def test_no_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OREBIT_DEPLOYMENT", raising=False)
    with pytest.raises(ConfigError, match="no deployment on chain 424242"):
        deployments.load(424242)
    with pytest.raises(ConfigError, match="cannot be read"):
        deployments.load(path=tmp_path / "missing.json")
