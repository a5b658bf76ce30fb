package bench

// profileToken opens the profiles of the senders.
const profileToken = "profiles"
