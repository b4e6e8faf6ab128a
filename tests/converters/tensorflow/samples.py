"""Makes small Keras and SavedModel files in the folder that the first argument names.

A program of its own, so that the tests' process never imports TensorFlow; everything at once, because the
import takes seconds.
"""

import json
import sys
from pathlib import Path


def keras_files(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers

    image = keras.Input((8, 8, 3), name="image")
    hidden = layers.Rescaling(1 / 255)(image)
    hidden = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(hidden)
    hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    hidden = layers.GlobalAveragePooling2D()(hidden)
    small = keras.Model(image, layers.Dense(3, activation="softmax", name="scores")(hidden), name="small")
    small.save(folder / "small.keras")
    small.save_weights(folder / "alone.weights.h5")
    save_legacy(small, folder / "small.h5")

    left, right = keras.Input((4,), name="left side"), keras.Input((6, 6, 4), name="right")
    total = layers.Add(name="total")([left, layers.GlobalMaxPooling2D()(right)])
    keras.Model([right, left], [layers.Dense(2, name="first")(total), total]).save(folder / "ends.keras")
    keras.Model({"b": left, "a": right}, {"z": layers.Dense(2, name="zed")(total), "y": total}).save(
        folder / "dicts.keras"
    )

    size = keras.Input((None, None, 3), name="image")
    keras.Model(size, layers.Conv2D(2, 3, name="features")(size)).save(folder / "open.keras")

    steps = keras.Input((3, 3), name="steps")
    hidden = layers.LSTM(4, return_sequences=True)(steps)
    hidden = layers.Bidirectional(layers.GRU(3, return_sequences=True))(hidden)
    recurrent = keras.Model(steps, layers.SimpleRNN(2, name="last")(hidden))
    recurrent.save(folder / "recurrent.keras")
    recurrent.export(folder / "loops", verbose=False)

    held = keras.Input(batch_shape=(1, 5, 3))
    keras.Model(held, layers.LSTM(2, stateful=True, name="keeper")(held)).save(folder / "stateful.keras")
    code = layers.Lambda(lambda x: x + 1, name="plus_one", output_shape=(8, 8, 3))
    keras.Model(image, code(image)).save(folder / "lambda.keras")

    @keras.saving.register_keras_serializable("mine")
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    keras.Model(image, Twice(name="twice")(image)).save(folder / "custom.keras")
    text = keras.Input((), dtype="string", name="text")
    keras.Model(text, layers.Hashing(4)(text)).save(folder / "text.keras")


def save_legacy(model, path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HDF5 is legacy is why it is here
        model.save(path)


def legacy_files(folder: Path) -> None:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    image = tf_keras.Input((8, 8, 3), name="image")
    hidden = layers.DepthwiseConv2D(3, name="depthwise")(image)  # Keras 3 refuses its `groups`
    hidden = layers.Reshape((6, 18))(layers.ReLU(6.0)(hidden))
    model = tf_keras.Model(image, layers.LSTM(4, name="memory")(hidden))
    save_legacy(model, folder / "legacy.h5")
    code = layers.Lambda(lambda x: x + 1, name="plus_one")
    save_legacy(tf_keras.Model(image, code(image)), folder / "lambda.h5")


def saved_models(folder: Path) -> None:
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.weights = tf.Variable([[0.1, 0.2], [0.3, 0.4], [0.5, -0.6], [0.7, 0.8]], name="weights")

        @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 2])])
        def dense(self, x, offset):
            made = x @ self.weights
            return {"sum": made + offset, "raw": made}

        @tf.function(input_signature=[tf.TensorSpec([None, 4])])
        def one(self, x):
            return {"y": tf.nn.relu(x @ self.weights)}

    def cholesky(x):
        return {"y": tf.nn.relu(tf.linalg.cholesky(x))}

    def reading(x):
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}

    def saving(x):
        tf.raw_ops.SaveV2(prefix="stolen", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return {"y": x + 1}

    def selecting(x):
        return {"y": tf.boolean_mask(x, x > 0)}

    def counting(x):
        return {"y": x + counter.assign_add(1.0)}

    module, counter = Module(), tf.Variable(0.0)
    for name, signature in {
        "dense": module.dense,
        "one": {"only": module.one},
        "several": {"first": module.one, "second": module.dense},
        "none": None,
    }.items():
        tf.saved_model.save(module, str(folder / name), signatures=signature)
    for function in (cholesky, reading, saving, selecting, counting):
        alone = tf.Module()
        alone.counter = counter
        alone.call = tf.function(function, input_signature=[tf.TensorSpec([3, 3])])
        tf.saved_model.save(alone, str(folder / function.__name__), signatures=alone.call)


def of_tensorflow_1(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        y = x * v1.get_variable("scale", [4], initializer=v1.constant_initializer(3.0))
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"feed": x}, {"out": y})
        for name, signatures in (("old", {"serving_default": signature}), ("old_bare", None)):
            builder = v1.saved_model.Builder(str(folder / name))
            builder.add_meta_graph_and_variables(session, ["serve"], signatures)
            builder.save()


def in_memory(folder: Path) -> None:
    """What `edge_sdk.load` says of a model that this process holds; no temporary file is left of it."""
    import tempfile

    import keras

    import edge_sdk

    temporary = folder / "temporary"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    held = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, name="y")], name="held")
    model = edge_sdk.load(held)
    conversion = edge_sdk.convert(model, edge_sdk.plan(model, "local", precision="float32"))
    facts = {"name": model.name, "format": model.format, "reference": conversion.fidelity.reference}
    facts["ends"] = [spec.name for spec in (*model.inputs, *model.outputs)]
    del model, conversion
    facts["left"] = [path.name for path in temporary.rglob("*.keras")]
    (folder / "memory.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for make in (keras_files, legacy_files, saved_models, of_tensorflow_1, in_memory):
        make(target)
