"""Tools for testing: prove that a store keeps every promise of `stores/protocol.py` with `check_store`."""

from milepost.testing.conformance import MakeStore, StoreCheck, check_store, store_checks

__all__ = ["MakeStore", "StoreCheck", "check_store", "store_checks"]
