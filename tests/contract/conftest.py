import pytest

for seam in ("disk", "clock", "network", "entropy"):
    pytest.register_assert_rewrite(f"broker_trio.testing.contracts.{seam}")
