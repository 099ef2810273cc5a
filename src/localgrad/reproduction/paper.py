"""What the paper says, one statement at a time, and which claims and checks decide whether it is found here.

The statements are those of Williams, Payeur & Lajoie (ICML 2026) as docs/theory.md records them, in our words.
`verdicts.py` says how a verdict follows. Sentences quote measured values by the names of claims, checks and numbers.
"""

from localgrad.reproduction.verdicts import Statement

STATEMENTS = (
    Statement(
        "mode-equations",
        "A data-aligned network stays aligned, and each of its modes learns by three equations of its own.",
        "data alignment, equations 19–22",
        ("equivalence.update", "equivalence.diagonal", "equivalence.persists", "equivalence.learning"),
        "The update of full networks differs from the mode equations by {equivalence.update:.0e} (relative, all "
        "rules); whole learning runs by {equivalence.learning:.0e}.",
    ),
    Statement(
        "sequence-loss",
        "Averaging the loss over a sequence leads to the same equations as the loss at its end, for long sequences.",
        "appendix H",
        ("limits.sequence-order", "double-limit.sequence-order"),
        "The two updates differ by T to the power {limits.sequence-order:.2f} in a mode's equations and "
        "{double-limit.sequence-order:.2f} along a network's learning curve; the paper's limit is −1.",
    ),
    Statement(
        "optimal-manifold",
        "All rules share the optimal manifold (s, c/s, w*), with loss 0.",
        "stationary solutions",
        ("fixed-points.optimal", "fixed-points.optimal-loss"),
        "There no update exceeds {fixed-points.optimal:.0e}, for any rule, teacher and s.",
    ),
    Statement(
        "saddle-manifold",
        "BPTT and tBPTT also rest at a non-optimal manifold (0, 0, w), which is a saddle.",
        "stationary solutions, stability",
        ("fixed-points.silent", "fixed-points.silent-loss", "fixed-points.saddle-bptt", "fixed-points.saddle-tbptt"),
        "The update there is {fixed-points.silent:.0e}, the loss is c²/(2(1−w*²)) to {fixed-points.silent-loss:.0e}.",
        findings=("fixed-points.saddle-longer", "fixed-points.longer-truncations", "fixed-points.traps"),
    ),
    Statement(
        "rflo-no-saddle",
        "RFLO has no fixed point besides the optimal ones.",
        "stationary solutions",
        ("fixed-points.rflo-none",),
        "{fixed-points.rflo-none:.0f} roots elsewhere in all searches.",
        findings=("fixed-points.rflo-push", "fixed-points.search-power", "detours-at-scale.stalls"),
    ),
    Statement(
        "slow-phase",
        "Learning by BPTT and tBPTT from small weights is slow at first, near the saddle.",
        "stationary solutions",
        ("slow-phase.full", "slow-phase.truncated"),
        "Under BPTT the loss halves after {slow-phase.full-large:.1f} units of learning time from weights of "
        "{slow-phase.large:g}, and after {slow-phase.full-small:.1f} from {slow-phase.small:g} (medians): a delay of "
        "log(1/size) over the saddle's eigenvalue. RFLO, without the saddle, needs {slow-phase.local-large:.2f} and "
        "{slow-phase.local-small:.2f}.",
        findings=("slow-phase.no-saddle",),
    ),
    Statement(
        "bptt-real",
        "On the optimal manifold BPTT's eigenvalues are real and negative, so BPTT is stable on all of it.",
        "stability",
        ("stability.bptt-closed-form", "stability.bptt-real", "stability.bptt-stable"),
        "{stability.bptt-real:.2%} of random samples have real and {stability.bptt-stable:.2%} negative eigenvalues.",
        findings=("stability.tbptt-stable",),
    ),
    Statement(
        "bptt-fastest",
        "BPTT converges fastest almost everywhere.",
        "convergence rates",
        ("rates.bptt-over-tbptt-equal", "rates.bptt-over-tbptt", "rates.bptt-over-rflo"),
        "For c = 1 BPTT is at least as fast as tBPTT(1) on {rates.bptt-over-tbptt-equal:.0%} of the length "
        "0 < s ≤ 5√|c|, for c up to {rates.strongest:.0f} on {rates.bptt-over-tbptt:.1%} in the worst case; it is "
        "faster than RFLO with â = √|c| on {rates.bptt-over-rflo:.1%}.",
        otherwise="We read “almost everywhere” as nine tenths. With a strong teacher w learns fast, and its coupling "
        "to a and b, which tBPTT(1) lacks, slows BPTT down.",
        findings=("real-teachers.bptt-fastest",),
    ),
    Statement(
        "bptt-slowest",
        "BPTT converges slowest at s = ±√|c|.",
        "convergence rates",
        ("rates.bptt-slowest",),
        "The minimum lies at {rates.bptt-slowest:.6f} √|c| (furthest of random teachers). Only for w* = 0 and |c| ≤ 2 "
        "is it not unique: there the rate is c² at every s.",
        findings=("rates.bptt-flat",),
    ),
    Statement(
        "tbptt-like-bptt",
        "tBPTT(1) learns like BPTT for small |w*|.",
        "convergence rates",
        ("rates.tbptt-approaches",),
        "At the smallest w* tried their rates differ by {rates.tbptt-approaches:.1%} at most; the difference falls "
        "with w* to the power {rates.tbptt-order:.1f} for |c| < 2 and {rates.tbptt-order-strong:.1f} for |c| ≥ 2.",
        findings=("rates.tbptt-order", "rates.tbptt-order-strong", "basins.tbptt-like-bptt", "connectome.tbptt-spread"),
    ),
    Statement(
        "rflo-stability",
        "Whether RFLO is stable depends on the sign of âs: stable for âs > 0, unstable or oscillating for some âs < 0.",
        "stability, equations 28–29",
        ("stability.rflo-same-sign", "stability.rflo-unstable", "stability.rflo-oscillates"),
        "{stability.samples:.0f} random solutions: with âs > 0 a share of {stability.rflo-same-sign:.2%} is stable; "
        "with âs < 0 {stability.unstable:.1%} are unstable, and {stability.oscillating:.1%} have a complex pair.",
        findings=(
            "stability.rflo-saddle",
            "stability.rflo-window",
            "stability.rflo-no-window",
            "basins.rflo-branch",
            "detours-at-scale.rflo-branch",
            "rule-cube.fixed",
        ),
    ),
    Statement(
        "rflo-eigenvalues",
        "RFLO's eigenvalues on the optimal manifold have a closed form.",
        "equations 28–29",
        ("stability.rflo-closed-form",),
        "The formula of docs/theory.md, section 7, and the eigenvalues of the Jacobian differ by "
        "{stability.rflo-closed-form:.0e} of the larger one at most, for either sign of âs.",
    ),
    Statement(
        "rflo-slower",
        "RFLO converges more slowly than BPTT for most s.",
        "convergence rates",
        ("rates.rflo-slower", "rates.rflo-slower-any-feedback"),
        "With â = √|c| RFLO is slower on {rates.rflo-slower:.1%} of the length 0 < s ≤ 5√|c| in the least case. With "
        "three times that feedback it is on {rates.share-3-least:.0%} to {rates.share-3-most:.0%}, with five times in "
        "the least case on {rates.share-5-least:.0%}.",
        otherwise="The larger the feedback, the faster RFLO learns b and w; the statement holds for small feedback.",
    ),
    Statement(
        "rflo-faster-small-s",
        "RFLO converges faster than BPTT as s → 0.",
        "convergence rates",
        ("rates.rflo-faster",),
        "At s = {rates.smallest-s:g} it is {rates.gain-at-smallest-s:.1f} times as fast in the least case "
        "(c = â = 1), and its rate grows without bound.",
        findings=("rates.rflo-growth",),
    ),
    Statement(
        "crossings",
        "So the rates of RFLO and BPTT cross.",
        "convergence rates (follows from the two statements above)",
        ("rates.crossing-any-feedback",),
        "They cross {rates.crossing-any-feedback:.0f} to {rates.most-crossings:.0f} times over all s, but within "
        "0 < s ≤ 5 {rates.fewest-within:.0f} to {rates.most-within:.0f} times, depending on â.",
        findings=("rates.crossing", "rates.coincide", "connectome.rflo-window"),
    ),
    Statement(
        "detours",
        "RFLO takes detours: it can end on the opposite branch after a long way, its loss first rising.",
        "detours",
        ("detours.bptt-branch", "detours.rflo-branch", "detours.rflo-peak"),
        "With â = −1 and ŵ = 0.5, from (1, 1, 0.6) towards (1, 1, 0.8), its way is {detours.rflo-path:.2f} long (BPTT: "
        "{detours.bptt-path:.2f}), and its loss rises {detours.rflo-peak:.1f}-fold first.",
        findings=(
            "detours.rflo-path",
            "detours.bptt-path",
            "detours-at-scale.longer",
            "rule-cube.rflo-longer",
        ),
    ),
    Statement(
        "detours-cost",
        "The detours cost learning time.",
        "detours",
        (
            "detours-at-scale.costs-time-weak",
            "detours-at-scale.costs-time-one",
            "detours-at-scale.costs-time-strong",
        ),
        "From random starts of scale 1 RFLO takes {detours-at-scale.time-ratio-weak:.1f}, "
        "{detours-at-scale.time-ratio-one:.2f} and {detours-at-scale.time-ratio-strong:.2f} times as long as BPTT with "
        "feedback â = 0.3, 1 and 3 (medians): strong feedback makes up for the detour.",
        findings=(
            "detours-at-scale.time-weak-feedback",
            "detours-at-scale.time-strong-feedback",
            "detours-at-scale.long-detours",
        ),
    ),
    Statement(
        "emergent-alignment",
        "Unaligned networks align while they learn.",
        "emergent alignment",
        (
            "emergent-alignment.input-output",
            "emergent-alignment.recurrent",
            "emergent-alignment.feedback",
            "emergent-alignment.level",
        ),
        "In every student and under every rule learning closes {emergent-alignment.input-output:.0%} or more of the "
        "gap between the first and full alignment of input and output directions; the median of their |cosine| ends at "
        "{emergent-alignment.level:.3f} (least over rules and modes).",
        findings=("real-teachers.aligned",),
    ),
    Statement(
        "theory-predicts-modes",
        "After a transient the mode equations predict the dominant modes of networks that began unaligned.",
        "emergent alignment",
        ("emergent-alignment.own-equations", "emergent-alignment.dominant", "emergent-alignment.sampled"),
        "The gain of the two dominant modes is predicted to {emergent-alignment.dominant:.1%} of its final "
        "value in exact learning (other modes {emergent-alignment.weaker:.1%}) and to "
        "{emergent-alignment.sampled:.1%} in sampled training with half the critical learning rate (others "
        "{emergent-alignment.weaker-sampled:.1%}); medians over students, worst of BPTT, tBPTT(1) and RFLO, whose "
        "R is orthonormal in sampled training.",
        otherwise="We read “predict” as an error of 5 %.",
        findings=("emergent-alignment.error", "emergent-alignment.e-prop"),
    ),
    Statement(
        "proposition-3-1",
        "What RFLO learns has rank at most the number of outputs, aligned or not.",
        "proposition 3.1",
        ("rank.bound", "rank.span", "rank.rflo-flow"),
        "The largest excess of the rank over o is {rank.bound:.0f}, with expected and sampled steps.",
        findings=("rank.bptt-unbound", "real-teachers.rflo-rank", "feedback-dimension.bound"),
    ),
    Statement(
        "rank-order",
        "The rank of what is learned falls in the order BPTT, e-prop, tBPTT, RFLO.",
        "rank",
        ("rank.order-bptt", "rank.order-eprop", "rank.order-tbptt"),
        "Median σ₂/σ₁, least of {rank.teachers:.0f} teachers: BPTT {rank.order-bptt:.2f} times e-prop, e-prop "
        "{rank.order-eprop:.2f} times tBPTT(1), tBPTT(1) {rank.order-tbptt:.2g} above RFLO.",
        findings=("real-teachers.other-ranks",),
    ),
    Statement(
        "rank-order-sampled",
        "The same order is found in sampled training.",
        "rank",
        ("rank.sampled-bptt", "rank.sampled-eprop", "rank.sampled-tbptt"),
        "Median σ₂/σ₁: BPTT {rank.sampled-bptt:.2f} times e-prop, e-prop {rank.sampled-eprop:.2f} times "
        "tBPTT(1), tBPTT(1) {rank.sampled-tbptt:.2g} above RFLO.",
    ),
    Statement(
        "converge-bptt",
        "BPTT converges in every one of 20 runs.",
        "convergence counts",
        ("rank.bptt-converges",),
        "It gets below 5 % of a silent student's loss in {rank.full-least:.0f} of {rank.runs:.0f} runs with the least "
        "favourable of {rank.teachers:.0f} teachers.",
    ),
    Statement(
        "converge-tbptt",
        "tBPTT converges in every one of 20 runs.",
        "convergence counts",
        ("rank.tbptt-converges",),
        "tBPTT(1) gets below 5 % of a silent student's loss in {rank.truncated-least:.0f} to "
        "{rank.truncated-most:.0f} of {rank.runs:.0f} runs, over {rank.teachers:.0f} teachers.",
        otherwise="It is slow rather than stuck: {rank.truncated-diverged:.1%} of these runs diverge, and with ten "
        "times the learning time {rank.truncated-longer:.0f} runs with the first teacher get there, after "
        "{rank.truncated-first:.0f}. The paper's teacher, training time and threshold are not known to us.",
        findings=("rank.tbptt-slow",),
    ),
    Statement(
        "converge-local",
        "RFLO converges in 13 and e-prop in 12 of 20 runs.",
        "convergence counts",
        ("rank.rflo-converges", "rank.eprop-converges"),
        "With {rank.teachers:.0f} teachers RFLO does so in {rank.local-least:.0f} to {rank.local-most:.0f} "
        "and e-prop with random feedback in {rank.random-least:.0f} to {rank.random-most:.0f} of "
        "{rank.runs:.0f} runs; over all teachers in {rank.rflo-converges:.0%} and "
        "{rank.eprop-converges:.0%}.",
        otherwise="The count depends on the teacher, the scale of the weights and the threshold far more than on "
        "chance, so that agreement of the one and disagreement of the other say little.",
        findings=("rank.diverges", "rank.loss"),
    ),
    Statement(
        "feedback-rank",
        "Feedback of a higher rank lets RFLO learn more dimensions.",
        "advice",
        ("feedback-dimension.reached", "feedback-dimension.auxiliary"),
        "Three auxiliary readouts raise the median participation ratio from 1 to {feedback-dimension.auxiliary:.2f} "
        "and lower the task's loss {feedback-dimension.loss:.2g}-fold, from small weights. From large weights with a "
        "large R the share of runs that diverge grows by {feedback-dimension.diverges:.2f}.",
        findings=(
            "feedback-dimension.loss",
            "feedback-dimension.copies",
            "feedback-dimension.diverges",
            "feedback-dimension.against",
        ),
    ),
)
