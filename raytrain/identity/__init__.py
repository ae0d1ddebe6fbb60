"""What a result is made of, as one key: settings, data, code, libraries, contents of named files, device."""

from raytrain.identity.files import contents_of
from raytrain.identity.ingredients import Ingredients
from raytrain.identity.keys import PIXELS, Identity, fit_ingredients
from raytrain.identity.settings import FREE, flatten

__all__ = ["FREE", "PIXELS", "Identity", "Ingredients", "contents_of", "fit_ingredients", "flatten"]
