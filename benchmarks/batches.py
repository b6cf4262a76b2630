"""Whether jobs can run in batches, in the build that is measured."""

from pyramid_zodb_async import job


def make_batched(*functions):
    """Have the jobs of functions run in batches where the build has that.

    Returns:
        Whether it has.
    """
    try:
        for function in functions:
            job(batched=True)(function)
    except TypeError:  # there is no such option
        return False
    return True
