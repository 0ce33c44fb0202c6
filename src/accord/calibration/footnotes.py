"""What a table must say of a row that is not the paper's method."""

RL_FOOTNOTE = (
    "The paper used PPO; ours is RLOO (leave-one-out REINFORCE, the KL penalty in the reward). In the released code "
    "PPO's reward is the probability that a text is unacceptable, so its numbers are no baseline to compare with."
)
