"""Uses names that the API of today has not."""

from unlearnbench.api import something_of_the_future  # noqa: F401
