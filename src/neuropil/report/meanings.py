"""What scores mean, for the page: `evaluate`'s keys with a title and one sentence each."""

from __future__ import annotations


def _objects(iou: str, at: str) -> dict[str, tuple[str, str]]:
    """The scores of objects that overlap by at least `at` of their union."""
    return {
        f"f1_{iou}": (f"F1 at IoU {at}", "harmonic mean of precision and recall of objects"),
        f"precision_{iou}": (f"Precision at IoU {at}", "share of the predicted objects that have a true partner"),
        f"recall_{iou}": (f"Recall at IoU {at}", "share of the true objects that have a partner"),
        f"accuracy_{iou}": (f"Accuracy at IoU {at}", "partners as a share of partners, missed and false objects"),
        f"pq_{iou}": (f"PQ at IoU {at}", "panoptic quality: F1 times the mean IoU of partners"),
        f"ap_{iou}": (f"AP at IoU {at}", "average precision, objects ranked by their mean foreground, else their size"),
        f"sq_{iou}": (f"SQ at IoU {at}", "segmentation quality: mean IoU of partners"),
        f"ap_{iou}_voxels": (f"AP at IoU {at}, by size", "average precision, objects ranked by their voxels"),
    }


def _parts(names: tuple[str, ...], what: str) -> dict[str, tuple[str, str]]:
    """The scores of groups of objects, small ones or others."""
    at_75 = {key.removesuffix("_75"): title for key, (title, _) in _objects("75", "0.75").items() if key[-3:] == "_75"}
    return {
        f"{score}_75_{n}": (f"{title}, {n}", f"of {'true ' if score == 'recall' else ''}objects that are {n} by {what}")
        for n in names
        for score, title in at_75.items()
    } | {f"num_truth_{n}": (f"True objects, {n}", f"objects in the truth that are {n} by {what}") for n in names}


#: Score → (title, what it says). Order is that of the page.
MEANING: dict[str, tuple[str, str]] = {
    "voi_sum": ("VOI sum", "bits of disagreement between truth and segmentation; 0 is perfect"),
    "voi_split": ("VOI split", "bits lost to neurons cut into pieces"),
    "voi_merge": ("VOI merge", "bits lost to neurons fused together"),
    "arand": ("ARAND", "adapted Rand error: share of voxel pairs judged wrongly; 0 is perfect"),
    "cremi_score": ("CREMI score", "geometric mean of VOI sum and ARAND"),
    "rand_precision": ("Rand precision", "share of voxel pairs joined that belong together"),
    "rand_recall": ("Rand recall", "share of voxel pairs that belong together and are joined"),
    "rand_index": ("Rand index", "share of all voxel pairs judged rightly"),
    "erl_nm": ("ERL", "expected run length: nm of neuron followed without a mistake"),
    "nerl": ("NERL", "ERL as a share of the best possible"),
    "erl_splits": ("Splits on skeletons", "segments on each true skeleton beyond the first, summed"),
    "erl_merges": ("Merges on skeletons", "true skeletons in each segment beyond the first, summed"),
    "esa": ("ESA", "entire structure average: mean distance of the trees, in steps"),
    "dsa": ("DSA", "different structure average: mean distance of what is apart"),
    "pds": ("PDS", "percentage of different structure: share of samples that are apart"),
    "precision": ("Precision", "share of what was traced that is true"),
    "recall": ("Recall", "share of the truth that was found"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "precision_auc": ("Precision, mean", "of the tolerances of the sweep"),
    "recall_auc": ("Recall, mean", "of the tolerances of the sweep"),
    "f1_auc": ("F1, mean", "of the tolerances of the sweep"),
    "mes": ("MES", "miss-extra score: 1 is perfect"),
    "length_truth": ("True length", "cable of the truth, in steps"),
    "length_test": ("Traced length", "cable of the trace, in steps"),
    "length_ratio": ("Length ratio", "traced cable as a share of the true one; 1 is perfect"),
    "hd95": ("HD95", "distance that 95 % of the cable stays below, in steps"),
    "diadem": ("DIADEM", "weighted share of branch points and tips at the end of right paths"),
    "critical_f1": ("Critical nodes, F1", "branch points and ends that have a partner within the tolerance"),
    "critical_precision": ("Critical nodes, precision", "share of the traced branch points and ends that are true"),
    "critical_recall": ("Critical nodes, recall", "share of the true branch points and ends that were found"),
    "critical_truth": ("Critical nodes, true", "branch points and ends of the truth"),
    "critical_test": ("Critical nodes, traced", "branch points and ends of the trace"),
    "edge_precision": ("Edge precision", "cable of traced edges that the truth joins as directly, as a share"),
    "edge_recall": ("Edge recall", "cable of true edges that the trace joins as directly, as a share"),
    "netmets_geometry_fpr": ("NetMets, false geometry", "traced cable that lies apart, near misses by a part"),
    "netmets_geometry_fnr": ("NetMets, missed geometry", "true cable that lies apart, near misses by a part"),
    "netmets_connectivity_fpr": (
        "NetMets, false links",
        "share of the traced links between matched nodes that the truth has not",
    ),
    "netmets_connectivity_fnr": (
        "NetMets, missed links",
        "share of the true links between matched nodes that the trace has not",
    ),
    **_objects("50", "0.5"),
    **_objects("75", "0.75"),
    "ap_50_95": ("AP at IoU 0.5 to 0.95", "mean of the average precisions at ten thresholds"),
    "ap_50_95_voxels": ("AP at IoU 0.5 to 0.95, by size", "the same, objects ranked by their voxels"),
    **_parts(("small", "medium", "large"), "volume"),
    **_parts(("short", "middle", "long"), "length"),
    "dice": ("Dice", "twice the common voxels as a share of both masks"),
    "iou": ("IoU", "common voxels as a share of the union of both masks"),
    "foreground_precision": ("Foreground precision", "share of the predicted foreground that is true"),
    "foreground_recall": ("Foreground recall", "share of the true foreground that was found"),
    "mask_precision": ("Mask precision", "share of the predicted voxels that are true"),
    "mask_recall": ("Mask recall", "share of the true voxels that were found"),
    "cldice": ("clDice", "harmonic mean of how much of each centreline lies in the other mask"),
    "skeleton_precision": ("Centreline precision", "share of the predicted centreline that lies in the true mask"),
    "skeleton_recall": ("Centreline recall", "share of the true centreline that lies in the predicted mask"),
    "betti0_error": ("Betti 0 error", "difference in the number of pieces"),
    "betti1_error": ("Betti 1 error", "difference in the number of loops"),
    "betti2_error": ("Betti 2 error", "difference in the number of hollows"),
    "hd95_nm": ("HD95", "nm that 95 % of the surfaces stay below"),
    "num_truth": ("Neurons", "objects in the truth"),
    "num_pred": ("Segments", "objects in the segmentation"),
}
#: Not a score, but shown with them.
MEANING["ignore_border_nm"] = ("Ignored border (nm)", "voxels this near to a border of the truth were left out")
#: Scores of groups of objects.
GROUPS = frozenset({**_parts(("small", "medium", "large"), "volume"), **_parts(("short", "middle", "long"), "length")})
MAIN = ("voi_sum", "voi_split", "voi_merge", "arand", "esa", "f1", "precision", "recall")
