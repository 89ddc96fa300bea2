"""What people think of assets: stars and likes."""

from functools import partial
from uuid import UUID

from lumiliod.contract.assets import Asset
from lumiliod.db import assets
from lumiliod.domain.ids import AssetId
from lumiliod.library import browse
from lumiliod.runtime import Runtime


async def rate(rt: Runtime, asset_id: UUID, rating: int | None) -> Asset:
    """Give an asset 0 to 5 stars, or none; return it.

    Raises:
        NotFound: there is none with this id, or it is in the trash (``in_trash``).
    """
    await rt.db.call(assets.rate, AssetId(asset_id), rating)
    return await browse.show(rt, asset_id)


async def like(rt: Runtime, asset_id: UUID, liked: bool) -> Asset:
    """Say whether an asset is liked; return it. Raises as :func:`rate`."""
    await rt.db.call(partial(assets.like, liked=liked), AssetId(asset_id))
    return await browse.show(rt, asset_id)
