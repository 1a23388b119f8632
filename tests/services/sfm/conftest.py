"""What several tests of the front of sfm look at: made once."""

import pytest

from services.sfm import features
from tests.services.sfm.listening import Listener
from tests.services.sfm.room_views import CONF, RoomViews, write_room


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> RoomViews:
    """Four pictures of one room, with their features. To be read only."""
    views = write_room(tmp_path_factory.mktemp("room"))
    features.main(CONF, views.capture, views.features, Listener())
    return views
