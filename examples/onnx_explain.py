"""What a photograph shows, and where: an exported model with onnxruntime, NumPy and Pillow alone.

Run `bagnet export --out model.onnx` once, then `python onnx_explain.py model.onnx photo.jpg why.png`.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, photo, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
about = {key.removeprefix("bagnet."): json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}

image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
prepare = about["input"]["preprocessing"]
if prepare["resize"]:
    share = prepare["resize"] / min(image.size)  # the shorter side exactly, the longer one rounded down
    size = [prepare["resize"] if side == min(image.size) else int(side * share + 1e-9) for side in image.size]
    image = image.resize(size, getattr(Image.Resampling, prepare["interpolation"].upper()))
if crop := prepare["crop"]:
    left, top = (round((side - crop) / 2) for side in image.size)
    image = image.crop((left, top, left + crop, top + crop))

logits, evidence = session.run(["logits", "evidence"], {"image": np.asarray(image)[None]})
assert np.allclose(evidence.mean((2, 3)), logits, atol=1e-5 * np.abs(logits).max()), "the map adds up to the decision"
for index in np.argsort(-logits[0])[:5]:
    print(f"{about['classes'][index]:30} {logits[0, index]:7.2f}")

heat = evidence[0, logits[0].argmax()]  # red speaks for the best class, blue against it
scale = np.abs(heat).max()
red, blue = (np.clip(sign * heat / scale, 0, 1) for sign in (1, -1))
colours = np.uint8(255 * np.stack([1 - blue, 1 - red - blue, 1 - red], 2))
Image.blend(image, Image.fromarray(colours).resize(image.size, Image.Resampling.NEAREST), 0.6).save(out)
