"""The errors of the registry package. They know no transport.

RegistryError
├── InvalidReferenceError      text that is no reference to a registered model
├── RegistryNotFoundError      the registry answers: no such model, version or alias
├── RegistryConflictError      the registry is not as the caller expected
├── RegistryUnavailableError   the registry does not answer, or not with sense; the same call may succeed later
├── RegistryDeniedError        the registry refuses: credentials, or what was asked
├── CacheError                 the cache on disk cannot be written: the disk is full, or not ours
└── ArtifactError              what a version holds is not what it should be
    ├── ArtifactCorruptError     other bytes than were registered, or damaged ones
    └── ArtifactRefusedError     a kind of model that is never read: pickles, SavedModel, `.h5`
"""


class RegistryError(Exception):
    """Base of all; the text is one sentence."""


class InvalidReferenceError(RegistryError):
    """Text that is no reference to a registered model."""


class RegistryNotFoundError(RegistryError):
    """The registry answers: no such model, version or alias."""


class RegistryConflictError(RegistryError):
    """The registry is not as the caller expected."""


class RegistryUnavailableError(RegistryError):
    """The registry does not answer, or not with sense; the same call may succeed later."""


class RegistryDeniedError(RegistryError):
    """The registry refuses: credentials, or what was asked."""


class CacheError(RegistryError):
    """The cache on disk cannot be written: the disk is full, or not ours."""


class ArtifactError(RegistryError):
    """What a version holds is not what it should be."""


class ArtifactCorruptError(ArtifactError):
    """Other bytes than were registered, or damaged ones."""


class ArtifactRefusedError(ArtifactError):
    """A kind of model that is never read: pickles, SavedModel, `.h5`."""
