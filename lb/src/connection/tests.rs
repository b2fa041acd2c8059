use super::*;

#[test]
fn a_token_survives_epoll() {
    for key in [0, 1, 20_000, u32::MAX >> 1] {
        for generation in [0, 7, u32::MAX >> 1] {
            for which in [Which::Client, Which::Backend] {
                let token = Token { key, generation };
                let data = token.data(which).u64();
                assert_eq!(Token::from_data(data), (token, which));
                assert_eq!(data >> 63, 0, "that bit marks what is no connection");
            }
        }
    }
}

/// What an idle connection costs, beside the links of its timer.
#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 256, "{} bytes", size_of::<Connection>());
}
