"""What a table must say of a row that was trained otherwise than the paper's."""

RL_FOOTNOTE = (
    "The paper trained with PPO (TRL, a value head); here RL is leave-one-out REINFORCE with a KL penalty. The "
    "released PPO code covers MIC alone and rewards the probability of its last class, which is unacceptable. The "
    "paper prints the best of five RL seeds beside the mean of five seeds of its own method; here both are means."
)
