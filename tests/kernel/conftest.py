import pytest
from kernel_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
