//! A pair of ours and a real partner: keepalived and FRR, IPv4 and IPv6, each as leader and as standby.

mod partners {
    mod adverts;
    mod replacing;
    mod scene;
    mod takes_turns;
}
