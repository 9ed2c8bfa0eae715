fn main() {
    let a: Vec<String> = std::env::args().collect();
    println!("{:?}", callahead::transcribe::model::fetch(std::path::Path::new(&a[1]), &a[2], a.get(3).map(std::path::Path::new)));
}
