"""An application whose jobs Celery is to run."""

import celery_site
import pytest


@pytest.fixture
def site(tmp_path):
    """Give an application on SQLite, whose messages go nowhere."""
    with celery_site.on_sqlite(tmp_path) as made:
        yield made


@pytest.fixture
def make_worker(site):
    """Make workers, as far as the database can tell, in this process."""
    with celery_site.workers_of(site) as make:
        yield make
