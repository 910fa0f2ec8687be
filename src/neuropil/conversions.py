"""How to bring files of formats that are not read into one that is: a line of advice for each ending."""

from __future__ import annotations

from pathlib import Path

_WRITE = 'neuropil.io.save_volume(neuropil.Volume({array}, (z, y, x)), "new.zarr")'
_SIZE = "with the voxel size (z, y, x) in nm"

#: Imports and the expression of an array (Z, Y, X), FILE being the quoted path, for each reader in Python.
_READERS = {
    "mrc": ("mrcfile", "mrcfile.open(FILE, permissive=True).data"),
    # read as C orders them: its own order is x, y, z
    "nrrd": ("nrrd", 'nrrd.read(FILE, index_order="C")[0]'),
    "nifti": ("nibabel, numpy", "numpy.asarray(nibabel.load(FILE).dataobj).T"),
    "dm": ("ncempy.io.dm", 'ncempy.io.dm.dmReader(FILE)["data"]'),
    "npy": ("numpy", "numpy.load(FILE)"),
    "npz": ("numpy", 'numpy.load(FILE)["NAME"]'),
    "mha": ("SimpleITK", "SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(FILE))"),
    "raw": ("numpy", 'numpy.fromfile(FILE, "uint8").reshape(sections, rows, columns)'),
    "wkw": (
        "webknossos",
        'webknossos.Dataset.open("FOLDER").get_layer("color").get_finest_mag().read()[0].T',
    ),
}
_INSTALL = {
    "mrc": "mrcfile",
    "nrrd": "pynrrd",
    "nifti": "nibabel",
    "dm": "ncempy",
    "mha": "SimpleITK",
    "wkw": "webknossos",
}
_OF_SUFFIX = {
    **dict.fromkeys((".mrc", ".rec", ".st"), "mrc"),
    ".nrrd": "nrrd",
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
    **dict.fromkeys((".dm3", ".dm4"), "dm"),
    ".npy": "npy",
    ".npz": "npz",
    ".mha": "mha",
    ".raw": "raw",
    ".wkw": "wkw",
}
#: What is to be known of the file besides.
_MIND = {
    "npz": "; NAME is one of numpy.load(...).files",
    "raw": "; type and extents are written nowhere in the file: put in what you know",
    "wkw": "; FOLDER is the dataset, which holds datasource-properties.json",
}
# an .ims file of today is HDF5, and opened as that; older ones are not
_TREES = (".swc", ".eswc")
_BIO_FORMATS = (".czi", ".lif", ".nd2", ".am", ".ims")


def how_to_convert(path: Path) -> str:
    """What to do with a file of a format that is not read, in one line; empty where its ending says nothing.

    Parameters
    ----------
    path
        The file; only its name is looked at.

    Examples
    --------
    >>> how_to_convert(Path("a.czi"))
    'save it as OME-TIFF with Bio-Formats: in Fiji, or bfconvert "a.czi" "a.ome.tif"'
    """
    name = path.name.lower()
    if name.endswith(_BIO_FORMATS):
        new = path.with_suffix(".ome.tif")
        return f'save it as OME-TIFF with Bio-Formats: in Fiji, or bfconvert "{path}" "{new}"'
    if name.endswith(_TREES):
        return "it is a tree: evaluate --task trees, train --recipe lm_neuron"
    reader = next((_OF_SUFFIX[suffix] for suffix in _OF_SUFFIX if name.endswith(suffix)), "")
    if not reader:
        return ""
    modules, array = _READERS[reader]
    write = _WRITE.format(array=array.replace("FILE", repr(str(path))))
    install = f"pip install {_INSTALL[reader]}, then in Python " if reader in _INSTALL else "in Python "
    return f"{install}import {modules}, neuropil.io; {write} {_SIZE}{_MIND.get(reader, '')}"
