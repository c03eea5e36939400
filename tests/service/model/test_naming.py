"""service.model.naming: the names of groups in H5 files are Keras's."""

from service.model.layers import FAMILIES
from service.model.naming import Counter, snake_case


def test_every_layer_has_the_group_that_keras_gives_it():
    """Keras names the group of each class that is supported as we do."""
    from keras.src.utils.naming import to_snake_case

    names = [layer.CLASS for family in FAMILIES.values() for layer in family]
    assert len(names) > 30
    assert {name: snake_case(name) for name in names} == {name: to_snake_case(name) for name in names}


def test_siblings_are_counted_by_class():
    """The first of a class has the bare name, those after it a number."""
    name = Counter()
    assert [name(c) for c in ("Dense", "LSTM", "Dense", "Dense")] == ["dense", "lstm", "dense_1", "dense_2"]
